"""A server that seems to be far away: a TCP proxy on loopback that delays what passes and counts the round trips."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class Far:
    """What has passed so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        """Of the server behind, through the proxy."""
        self.connections = 0
        self.round_trips = 0
        """How often a client has sent something after it had heard something, and once for each connection."""

    def reset(self) -> None:
        """Counts anew."""
        self.connections = self.round_trips = 0


class _Connection:
    def __init__(self, far: Far, delay_seconds: float) -> None:
        self._far = far
        self._delay = delay_seconds
        self._heard = True

    async def pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        """What comes from one side goes to the other ``delay_seconds`` later, however much comes meanwhile."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while piece := await source.read(1 << 16):
                if answers:
                    self._heard = True
                elif self._heard:
                    self._heard = False
                    self._far.round_trips += 1
                loop.call_later(self._delay, sink.write, piece)
        loop.call_later(self._delay, sink.close)


@contextlib.asynccontextmanager
async def far(url: str, delay_seconds: float = 0.0) -> AsyncIterator[Far]:
    """A server's URL as seen from ``delay_seconds`` away (one way). Its pieces are never held back for want of room."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        found.connections += 1
        there, onward = await asyncio.open_connection(parts.hostname, parts.port)
        one = _Connection(found, delay_seconds)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(
                    one.pass_on(reader, onward, answers=False), one.pass_on(there, writer, answers=True)
                )
                await asyncio.sleep(delay_seconds)
        finally:
            for end in (onward, writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = Far(urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}"))))
        yield found
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
