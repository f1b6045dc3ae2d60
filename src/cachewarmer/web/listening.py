"""A bounded number of connections to an application of aiohttp."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cachewarmer.errors import UsageError
from cachewarmer.web.address import HttpSettings

MOST_CONNECTIONS = 256
"""Connections at the same time; further ones are closed as soon as they come."""


async def listen(runner: web.AppRunner, http: HttpSettings) -> asyncio.Server:
    """Serves what ``runner``, which is set up, runs; it is cleaned up on failure.

    Raises:
        UsageError: the address can't be had.
    """
    made = runner.server
    assert made is not None

    def connected() -> asyncio.BaseProtocol:
        return made() if len(made.connections) < MOST_CONNECTIONS else _Refusing()

    try:
        return await asyncio.get_running_loop().create_server(connected, http.host, http.port, backlog=128)
    except OSError as error:
        await runner.cleanup()
        raise UsageError(
            f"{http.option} {http.host}:{http.port}: {error.strerror or error}", advice="choose another port"
        ) from error


class _Refusing(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
