"""Reports a service's state to systemd, by sd_notify(3): datagrams to the socket in ``NOTIFY_SOCKET``."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


def notify(state: str) -> bool:
    """Sends one state (``READY=1``, ``STATUS=…``); False if no systemd is listening."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect("\0" + path[1:] if path.startswith("@") else path)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True


@asynccontextmanager
async def service() -> AsyncIterator[None]:
    """Reports the service as ready, feeds the watchdog from the event loop, and reports the stop.

    The watchdog is fed at a third of ``WATCHDOG_USEC``: a loop that is stuck stops feeding it, and systemd restarts us.
    """
    if not notify("READY=1"):
        yield
        return
    feeder = asyncio.create_task(_feed())
    try:
        yield
    finally:
        notify("STOPPING=1")
        feeder.cancel()
        with suppress(asyncio.CancelledError):
            await feeder


async def _feed() -> None:
    micros = os.environ.get("WATCHDOG_USEC", "")
    if not micros.isdecimal():
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(int(micros) / 3_000_000)
