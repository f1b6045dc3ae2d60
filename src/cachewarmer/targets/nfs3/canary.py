"""Calls NULL on a separate connection, to measure how long another client waits for a thread of the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable

from cachewarmer.errors import ConnectionLost, ReplyTimeout
from cachewarmer.eventloop import readable
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.connection import Connection

ANSWER_BYTES = 4096
ANSWER_LIMIT_BYTES = 1024
NULLS = 3
"""Number of NULL calls to find out whether the threads of a server are in use."""
SO_TIMESTAMPNS = 35
"""From Linux's asm-generic/socket.h, not in Python: the time when a segment arrived comes with its bytes."""
_TIMESPEC = struct.Struct("@qq")
_TCP_INFO_RTT = struct.Struct("@68xI")
"""``tcpi_rtt`` (microseconds) in ``struct tcp_info`` of Linux's linux/tcp.h, after eight bytes and fifteen numbers."""
_RESET = struct.pack("@ii", 1, 0)
"""SO_LINGER with 0 s: closing resets the connection, so that its source port can be used again at once."""


class NullCanary:
    """See ``Session.canary``. If the system tells when an answer arrived, our own delays are not part of the time."""

    def __init__(
        self, dial: Callable[[], Awaitable[socket.socket]], credential: bytes, address: str, reply_seconds: float
    ) -> None:
        self._dial = dial
        self._credential = credential
        self._address = address
        self._reply_seconds = reply_seconds
        self._sock: socket.socket | None = None
        self._rpc = Connection(credential)
        self.path_seconds = 0.0

    def __repr__(self) -> str:
        return f"<NullCanary {self._address} {'connected' if self._sock else 'closed'}>"

    async def call(self) -> float:
        """Calls NULL (RFC 1813 section 3.3.0). Connects first if necessary, which is not part of the time."""
        if self._sock is None:
            self._sock = await self._dial()
            self._rpc = Connection(self._credential, random.getrandbits(32))
            self.path_seconds = handshake_seconds(self._sock)
            if sys.platform == "linux":
                with contextlib.suppress(OSError):
                    self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            async with asyncio.timeout(self._reply_seconds):
                return await self._ask(self._sock)
        except TimeoutError as error:
            self.close()
            raise ReplyTimeout(f"no answer within {self._reply_seconds:g} s", address=self._address) from error
        except OSError as error:
            self.close()
            raise ConnectionLost(error.strerror or str(error), address=self._address) from error
        except BaseException:
            self.close()
            raise

    async def _ask(self, sock: socket.socket) -> float:
        record = self._rpc.call(nfs3.PROGRAM, nfs3.VERSION, nfs3.NULL, b"", None, ANSWER_LIMIT_BYTES)
        sent, sent_at = time.monotonic(), time.time()
        sock.send(record)  # a few bytes always fit
        while True:
            await readable(sock)
            received, ancillary, _, _ = sock.recvmsg(ANSWER_BYTES, 64)
            seconds = time.monotonic() - sent
            if not received:
                raise ConnectionLost("the server closed the connection", address=self._address)
            if self._rpc.receive(received, len(received)):  # a refusal took a thread too
                arrived = _arrival(ancillary)
                return min(seconds, max(0.0, arrived - sent_at)) if arrived else seconds

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def handshake_seconds(sock: socket.socket) -> float:
    """The seconds that the handshake of a new connection took, by the clock of the kernel; 0 if unknown.

    The kernel of the server answers it, so that it may wait in queues of the network, but not for a thread.
    """
    if sys.platform != "linux":
        return 0.0
    try:
        (microseconds,) = _TCP_INFO_RTT.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT.size))
    except (OSError, struct.error):
        return 0.0
    return float(microseconds) / 1e6


async def felt_way(
    dial: Callable[[], Awaitable[socket.socket]], credential: bytes, address: str, reply_seconds: float
) -> tuple[float, float]:
    """The seconds of the handshake of a new connection, and those of the fastest of ``NULLS`` NULL calls on it.

    If the threads of the server are in use, each of these calls waits; a single one may have waited for a processor.

    Raises:
        CacheWarmerError: there is no connection, or no answer.
    """
    way = 0.0

    async def dialled() -> socket.socket:
        nonlocal way
        sock = await dial()
        way = handshake_seconds(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return sock

    canary = NullCanary(dialled, credential, address, reply_seconds)
    try:
        null = min([await canary.call() for _ in range(NULLS)])
    finally:
        canary.close()
    return way, null


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When the bytes arrived at this machine (Unix seconds); 0 if unknown."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return float(seconds + nanoseconds / 1e9)
    return 0.0
