"""The sockets under the direct NFS reader: connecting, privileged source ports, and bytes to and from the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import random
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cachewarmer.blocking import in_daemon_thread
from cachewarmer.errors import (
    CacheWarmerError,
    ConnectFailed,
    ConnectionLost,
    RemoteProtocolError,
    ReplyTimeout,
    UnknownHost,
    own_resource_error,
)
from cachewarmer.eventloop import exact_clock, writable
from cachewarmer.rpc.connection import Connection
from cachewarmer.rpc.receiving import Event, Refusal, Reply
from cachewarmer.rpc.xdr import Unpacker

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

RECEIVE_BYTES = 128 * 1024
"""Maximum number of bytes of one recv: many small replies, or the head of a large one."""
RECEIVES_PER_WAKE = 16
"""Number of recv calls after which the event loop gets a turn, even if more bytes are waiting."""
_DROP_FLAGS = socket.MSG_TRUNC if sys.platform == "linux" else 0
_DROP = mmap.mmap(-1, (4 << 20) if _DROP_FLAGS else RECEIVE_BYTES)
"""Where dropped payload goes. With MSG_TRUNC (tcp(7)) Linux writes nothing into it, so its pages never exist."""
PRIVILEGED_PORTS = range(665, 1024)
"""The range from which Linux takes its privileged source ports too; well-known services are below it."""
_AVOIDED_PORTS = frozenset({749, 750, 783, 853, 873, 989, 990, 992, 993, 994, 995})
PRIVILEGED_TRIES = 24


async def resolve(host: str) -> list[tuple[socket.AddressFamily, SocketAddress]]:
    """The IP addresses of a host name, in the order in which to try them; their port is 0.

    Raises:
        UnknownHost: there is no such host.
    """
    try:
        try:  # an IP address needs no name server, and so no thread
            # As bytes: text would be encoded by a codec for host names, which is slow to import.
            numeric = host.encode("ascii") if host.isascii() and host.isprintable() else host
            found = socket.getaddrinfo(numeric, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await in_daemon_thread(lambda: socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        from cachewarmer.targets import hosts

        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise own_resource_error(error, address=host) or UnknownHost(
            f"no such host ({reason})", address=host, advice=hosts.advice(host)
        ) from error
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


async def connect(
    host: str, family: int, address: SocketAddress, port: int, *, seconds: float, privileged: bool | None, what: str
) -> tuple[socket.socket, bool]:
    """Connects to a port of an address; returns the socket, and whether its source port is privileged.

    Args:
        host: the address as the user wrote it, for errors.
        family: the address family.
        address: the IP address, from ``resolve``.
        port: the port to connect to.
        seconds: timeout of one attempt.
        privileged: whether the source port must be below 1024; None: if that is possible.
        what: the service, for errors.

    Returns:
        The connected, non-blocking socket, and whether its source port is privileged.

    Raises:
        ConnectFailed: there is no connection; the error names the port and the reason.
    """
    target = (address[0], port, *address[2:])
    tries = _source_ports(privileged)
    for source in tries:
        sock = _new_socket(family, host)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if source:
                _bind(sock, family, source)
            async with asyncio.timeout(seconds):
                await _connect(sock, target)
            return sock, bool(source)
        except TimeoutError as error:
            sock.close()
            raise ConnectFailed(f"no answer from port {port} ({what}) within {seconds:g} s", address=host) from error
        except OSError as error:
            sock.close()
            if source and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) and source != tries[-1]:
                continue
            if source and error.errno in (errno.EACCES, errno.EPERM):
                if privileged:
                    raise ConnectFailed(
                        "may not use a source port below 1024",
                        address=host,
                        advice="run as root or with CAP_NET_BIND_SERVICE",
                    ) from error
                return await connect(host, family, address, port, seconds=seconds, privileged=False, what=what)
            raise _unconnected(error, host, f"port {port} ({what})") from error
        except BaseException:
            sock.close()
            raise
    raise AssertionError("unreachable")


async def _connect(sock: socket.socket, target: tuple[Any, ...]) -> None:
    """Connects to a numeric address.

    ``sock_connect`` is not used: uvloop resolves even numeric addresses in threads, and if none can be started, the
    program ends.
    """
    number = sock.connect_ex(target)
    if number in (errno.EINPROGRESS, errno.EINTR):
        await writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _new_socket(family: int, host: str) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        own = own_resource_error(error, doing="opening a socket", address=host)
        raise own or ConnectFailed(f"can't open a socket: {error.strerror}", address=host) from error


def _unconnected(error: OSError, host: str, port: str) -> CacheWarmerError:
    """Our exception for a connection that could not be made."""
    reason = os.strerror(error.errno or 0)
    own = own_resource_error(error, doing=f"connecting to {port}", address=host)
    return own or ConnectFailed(f"can't connect to {port}: {reason}", address=host)


def _source_ports(privileged: bool | None) -> list[int]:
    """The source ports to try in turn; 0: any."""
    if privileged is False:
        return [0]
    ports = random.sample([port for port in PRIVILEGED_PORTS if port not in _AVOIDED_PORTS], PRIVILEGED_TRIES)
    return ports if privileged else [*ports, 0]


def _bind(sock: socket.socket, family: int, port: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))  # noqa: S104  # a source port, not a listener


async def call_once(
    sock: socket.socket,
    credential: bytes,
    program: int,
    version: int,
    procedure: int,
    arguments: bytes,
    *,
    seconds: float,
    host: str,
    what: str,
) -> Unpacker:
    """Makes a single call over a new connection; returns its results. The socket stays open.

    Raises:
        RpcRefused: the server refuses the call. RemoteProtocolError: its reply is invalid.
        ReplyTimeout: there was no reply within ``seconds``. ConnectionLost: the connection ended.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(credential, random.getrandbits(32))
    record = connection.call(program, version, procedure, arguments, None, 4 << 20)
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(sock, record)
            while True:
                received = await loop.sock_recv(sock, RECEIVE_BYTES)
                if not received:
                    raise ConnectionLost(f"{what} closed the connection", address=host)
                for event in connection.receive(received, len(received)):
                    if isinstance(event, Refusal):
                        raise event.error
                    if isinstance(event, Reply):
                        return event.results
    except TimeoutError as error:
        raise ReplyTimeout(f"{what} did not answer within {seconds:g} s", address=host) from error
    except OSError as error:
        raise ConnectionLost(f"{what}: {error.strerror or error}", address=host) from error
    except RemoteProtocolError as error:
        error.fill(doing=f"asking {what}", address=host)
        raise


class Channel:
    """A TCP connection on the event loop. ``on_events`` gets the answers; ``on_lost`` is called once, at the end."""

    def __init__(
        self,
        sock: socket.socket,
        connection: Connection,
        on_events: Callable[[Channel, Sequence[Event]], None],
        on_lost: Callable[[Channel, CacheWarmerError], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = exact_clock(self._loop)
        self._sock = sock
        self.rpc = connection
        self.in_flight = 0
        self.heard = self._clock()
        """When bytes last arrived, or the connection ceased to be idle, in seconds of the clock."""
        self.oldest: tuple[int | None, float] = (None, 0.0)
        """The xid of the oldest call at the last check, and since when it has been the oldest."""
        self.out: list[bytes] = []
        """Records to be sent with the next ``flush``."""
        self._unsent = b""
        self._buffer = bytearray(RECEIVE_BYTES)
        self._on_events = on_events
        self._on_lost = on_lost
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    def flush(self) -> None:
        """Sends the records in ``out``, as far as the socket accepts them now; the rest follows."""
        data = b"".join(self.out)
        self.out.clear()
        if self._unsent:
            self._unsent += data
            return
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            # The callers of flush are updating their state, so the loss is reported from the event loop.
            self._unsent = b""
            self._loop.call_soon(self.fail, ConnectionLost(f"connection lost: {error.strerror or error}"))
            return
        waiting = bool(self._unsent)
        self._unsent = data[sent:]
        if self._unsent and not waiting:
            self._loop.add_writer(self._sock.fileno(), self._writable)
        elif waiting and not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _writable(self) -> None:
        self._send(self._unsent)

    def _readable(self) -> None:
        self.heard = self._clock()
        sock, rpc, buffer = self._sock, self.rpc, self._buffer
        events: list[Event] = []
        failure: CacheWarmerError | None = None
        try:
            for _ in range(RECEIVES_PER_WAKE):
                drop = rpc.discardable
                if drop:
                    drop = min(drop, len(_DROP))
                    got = sock.recv_into(_DROP, drop, _DROP_FLAGS)
                    if got:
                        events += rpc.discarded(got)
                        if got < drop:
                            break
                        continue
                else:
                    got = sock.recv_into(buffer)
                    if got:
                        events += rpc.receive(buffer, got)
                        if rpc.failure is not None:
                            failure = rpc.failure
                            break
                        if got < RECEIVE_BYTES and not rpc.discardable:
                            break
                        continue
                failure = ConnectionLost("the server closed the connection")
                break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            failure = ConnectionLost(f"connection lost: {error.strerror or error}")
            failure.__cause__ = error
        except RemoteProtocolError as error:
            failure = error
        if events:
            self._on_events(self, events)
        if failure is not None:
            self.fail(failure)

    def fail(self, error: CacheWarmerError) -> None:
        """Closes the connection, and reports the reason to the owner, once."""
        if not self.closed:
            self.close()
            _without_frames(error)
            self._on_lost(self, error)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._buffer = bytearray()
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()


def _without_frames(error: BaseException) -> None:
    """Drops the frames of an error and its causes, which refer to the connection, which refers to the error.

    In such a cycle, the buffer of the connection would stay until a full garbage collection, which is rare.
    """
    failure: BaseException | None = error
    while failure is not None:
        failure.__traceback__ = None
        failure = failure.__cause__ or failure.__context__
