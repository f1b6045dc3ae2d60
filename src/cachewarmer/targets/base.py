"""The contract between the stages that plan and read, and the targets that hold the files.

A ``Session`` is one mount address, opened. It lists directories and reads byte ranges; it knows how many calls may be
in flight (the window) and keeps that many going as long as it has requests, across files and across work items.
Listing awaits; reading does not: a request is queued, and its ``on_done`` is called on the event loop, once. Nor does
the first part of a directory where one call gives it, since a tree may have as many directories as files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field, fields
from enum import IntEnum
from typing import NamedTuple, Protocol

from cachewarmer.errors import CacheWarmerError, FileError, InvalidValue, TransportError
from cachewarmer.model import Access
from cachewarmer.model.parts import Range
from cachewarmer.targets.latency import LatencyHistogram
from cachewarmer.values import dataclass
from cachewarmer.wire import MAX_ID


class FileKind(IntEnum):
    """The kind of a directory entry (``ftype3``, RFC 1813 section 2.5, reduced to what matters here)."""

    REGULAR = 1
    DIRECTORY = 2
    LINK = 5
    SPECIAL = 6


class DirectoryEntry(NamedTuple):
    """One entry of a directory, with everything that planning needs; never ``.`` or ``..``."""

    name: bytes
    kind: FileKind
    size: int
    """Bytes."""
    mtime: float
    """Unix seconds."""
    handle: bytes
    """The handle, valid in this session only. Empty if the target has none (local directories), or should be asked
    shortly before the file is read."""
    file_id: int = 0
    """Identifies a file within its export (``fileid3``, RFC 1813 section 2.5); 0 if unknown."""
    links: int = 1
    """The number of names (hard links) of the file, as far as known."""
    ctime: float = 0.0
    """Unix seconds: when the file's data or attributes changed last; 0 if unknown."""


class EntryError(NamedTuple):
    """An entry whose attributes could not be read."""

    name: bytes
    error: CacheWarmerError


class Page(NamedTuple):
    """A part of a directory, in the server's order."""

    entries: Sequence[DirectoryEntry]
    errors: Sequence[EntryError]
    cookie: object
    """Opaque: hand it to ``list_page`` to continue; None: that was the last page."""
    duplicates: int = 0
    """The number of repeated names, which are not among the entries."""
    device: int = 0
    """Identifies the file system of the directory among those of this machine; 0 if unknown."""


@dataclass(slots=True, eq=False)
class ReadRequest:
    """One byte range of one file to be read and thrown away. The session fills in what follows ``on_done``."""

    path: bytes
    """The path below the session's export, without a leading slash, to resolve the handle again if it becomes stale."""
    handle: bytes
    """Empty: the session resolves the path first."""
    start: int
    stop: int
    """Half-open range of bytes; a session never asks for a byte at or past ``stop``. The caller may lower it at any
    time to end the request early: the session looks at it before every call."""
    on_done: Callable[[ReadRequest], None]
    context: object = None
    """For the caller's own use."""
    in_order: bool = False
    """Whether later requests wait until all of this one has been requested, if the session supports that."""
    bytes_read: int = 0
    calls: int = 0
    """The number of READ calls; 0 if the cache was asked to fill itself."""
    put_off: bool = False
    """The server has told us to try again later (NFS3ERR_JUKEBOX), so that no reply is pending."""
    seconds: float = 0.0
    """Time from the first call to the last reply."""
    error: CacheWarmerError | None = None
    """None: read to ``stop``, or to the end of a file that had become shorter. ``FileVanished`` if it is gone;
    ``TransportError`` if the address does not answer: then nothing is known about the file."""
    left: Sequence[Range] | None = None
    """With a ``TransportError``: the ranges that had not been received, in order; None: all, or unknown."""
    once: bool = False
    """Whether only the time matters: do not wait for the cache to keep the data, and do not read again if it has not.
    """


@dataclass(slots=True, eq=False)
class PageRequest:
    """A request for the first page of a directory by a single call."""

    path: bytes
    """The path of the directory below the session's export."""
    handle: bytes
    """Empty: unknown."""
    on_done: Callable[[Page | TransportError | None], None]
    """Called once, with the page, with the error of an address that does not answer, or with None if a single call was
    not enough."""
    unwanted: bool = False
    """Set by the caller if it does not need the answer any more; then ``on_done`` is not called."""


class Supply(ABC):
    """Requests that are created when they are needed.

    A work item has thousands of them. Created all at once, they and what they refer to would have left the processor's
    caches before they are used.
    """

    __slots__ = ()

    left: int
    """The number of requests not taken yet. The owner may set it to 0 to end the supply."""
    in_order: bool = False
    """Whether its requests are ``in_order``."""

    @abstractmethod
    def take(self) -> ReadRequest:
        """Returns the next request. Call this only while some are left."""


@dataclass(slots=True)
class Window:
    """How much may be in flight at one address, and how much is. Listing and reading share the window."""

    calls: int
    """Maximum number of calls in flight, at least 1; may be set at any time."""
    bytes: int
    """Maximum number of bytes requested and not yet received."""
    in_flight: int = 0
    """Calls in flight."""
    bytes_in_flight: int = 0
    """Bytes requested and not yet received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """What a session has done since it was opened, and what it is doing."""

    calls: Mapping[str, int]
    """Calls sent so far, by the name of the procedure; for a local directory, of the system call."""
    window_calls: int
    """``Window.calls`` now."""
    in_flight: int
    """``Window.in_flight`` now."""
    waiting: int
    """READ requests not yet done, including those in flight."""
    bytes: int
    """Bytes of payload received in READ replies."""
    retries: int = 0
    """Calls sent again because their connection was lost."""
    jukebox_waits: int = 0
    """Answers, such as NFS3ERR_JUKEBOX, that asked the client to wait and try again."""
    reconnects: int = 0
    """Connections that replaced a lost one."""
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    """Latencies of READ calls, from sending to the end of the reply."""
    others_in_flight: int = 0
    """Calls in flight other than READs."""


class Question(IntEnum):
    """A call other than READ, made to measure how long its answer takes, or to bring the answer into a cache."""

    ATTRIBUTES = 1
    """What a file is (GETATTR)."""
    ACCESS = 2
    """What a user may do with a file (ACCESS)."""
    ORIGIN = 3
    """What a read-through cache has to ask its origin (FSSTAT: the free space there)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with its groups, as in AUTH_SYS (RFC 5531 appendix A)."""

    uid: int
    gid: int
    gids: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Parses ``UID[:GID[,GID...]]``; without a group, the one with the number of the user is taken.

        Raises:
            InvalidValue: ``text`` has another form, a number is too large, or there are more than 17 groups.
        """
        user, colon, groups = text.partition(":")
        texts = [user, *(groups.split(",") if colon else [user])]
        if len(texts) > 18 or not all(
            one.isascii() and one.isdecimal() and len(one) <= 10 and int(one) <= MAX_ID for one in texts
        ):
            raise InvalidValue(f"{text[:40]!r} is not UID[:GID[,GID...]] with at most 17 groups")
        uid, gid, *gids = map(int, texts)
        return cls(uid, gid, tuple(gids))


class Felt(NamedTuple):
    """Measurements with a new connection to an address, in seconds."""

    way_idle_seconds: float
    """The shortest handshake so far, that is, the round trip without load."""
    way_seconds: float
    """The handshake of this connection, which takes longer if it waits in a queue of the network. It needs no server
    thread.
    """
    null_seconds: float
    """The shortest of some NULL calls on the connection, each of which needs a server thread."""


class Canary(Protocol):
    """A separate connection, whose calls take as long as another client waits for a server thread."""

    path_seconds: float
    """Duration of the connection's handshake, which needs no server thread; 0 if unknown."""

    async def call(self) -> float:
        """Makes one call that needs no file. Returns the seconds until its reply reached this machine.

        Raises:
            CacheWarmerError: there is no answer. The next call connects again.
        """

    def close(self) -> None:
        """Closes the connection. Idempotent."""


class Session(ABC):
    """One opened mount address (or local directory).

    Errors: every method raises ``CacheWarmerError`` subclasses only. ``TransportError`` means the address failed,
    not the file. A session reconnects by itself as long as its settings allow; it stays usable after an error.
    """

    address: str
    """The address as the user wrote it; empty for a local directory."""
    exact_seconds: bool = False
    """Whether the seconds of a ``ReadRequest`` are exact because a separate thread measured them. Otherwise they depend
    on the event loop, and callers who need better times must measure them."""
    asks_by_counts: bool = False
    """Whether its answers about the origin come from counts that the cache keeps, not from a round trip, and the cache
    keeps what was read only some time later."""
    export: str = "/"
    """The mounted export, below which all paths of this session are; ``/`` for a local directory."""
    window: Window
    """What may be in flight at the address, and what is."""

    @abstractmethod
    def snapshot(self) -> SessionSnapshot:
        """Counters of the session; cheap enough to be read several times a second."""

    @abstractmethod
    async def lookup(self, path: bytes) -> DirectoryEntry:
        """The entry at a path below the export (``b""`` is the root). Links are not followed.

        Raises:
            FileVanished: nothing is there. NfsStatusError, FileError: it exists, but may not be looked up.
        """

    @abstractmethod
    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        """The page of the directory at ``path`` that follows ``cookie`` (None: the first). ``handle`` may be empty.

        Every entry has its kind, size and (if the target has handles) handle: what the server leaves out is requested
        separately. A listing whose cookie has become invalid starts again by itself, or raises a transient error.
        """

    def ask_page(self, request: PageRequest) -> bool:  # noqa: ARG002  # for targets that can
        """Requests the first page of a directory without a task; returns whether it does, so that ``on_done`` is called.

        Nothing is retried. If this returns False, or ``on_done`` receives no page, call ``list_page``, which lists the
        directory or raises the reason why it can't be listed.
        """
        return False

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:  # noqa: ARG002  # for targets that have links
        """The target of the symbolic link at ``path``.

        Raises:
            FileError: it is not a symbolic link, or it may not be read.
        """
        raise FileError("it is a symbolic link, which can't be read here", subject=b"/" + path)

    async def exports(self) -> Sequence[str]:
        """The export list of the server; empty if there is none, or the server does not show it."""
        return ()

    @abstractmethod
    def read(self, request: ReadRequest) -> None:
        """Queues a request; returns at once. ``request.on_done`` is called exactly once, later, on the event loop."""

    def read_all(self, supply: Supply) -> None:
        """Queues a supply. Each request that is taken from it is treated as if it had been passed to ``read``."""
        while supply.left:
            self.read(supply.take())

    async def probe(self) -> float:
        """Checks whether the address answers, with one cheap call on its own; returns its duration in seconds.

        Raises:
            TransportError: it does not answer.
        """
        return 0.0

    async def ask(
        self,
        question: Question,  # noqa: ARG002  # for targets that can be asked
        path: bytes,  # noqa: ARG002
        handle: bytes = b"",  # noqa: ARG002
        identity: Identity | None = None,  # noqa: ARG002
    ) -> float | None:
        """Asks about the file at ``path``, as the user ``identity`` if one is given; returns the seconds it took.

        None: this target has no such call.

        Raises:
            CacheWarmerError: the call is refused, or there is no answer.
        """
        return None

    def canary(self) -> Canary | None:
        """A new canary for this address; None if calls do not occupy a server thread."""
        return None

    async def feel(self) -> Felt | None:
        """Opens a connection, makes calls that need no file, and closes it; None if there is no server.

        Raises:
            CacheWarmerError: there is no answer.
        """
        return None

    def set_window(self, calls: int) -> None:  # noqa: B027  # for those that share one with other sessions
        """Changes the window, for targets whose calls occupy threads of a cache. Calls in flight continue."""

    def heard(self) -> object:
        """A value that stays the same while calls are in flight and nothing is received. The default always changes,
        for targets that can't become silent.
        """
        return object()

    def interrupt(self, error: CacheWarmerError) -> None:  # noqa: B027  # not every target can become silent
        """Ends all requests in flight or waiting at once with ``error``; the session stays usable."""

    @abstractmethod
    async def close(self) -> None:
        """Closes the session; requests not yet done end with ``ConnectionLost``. Idempotent."""

    async def list_directory(self, path: bytes, handle: bytes) -> AsyncIterator[Page]:
        """Yields all pages of a directory."""
        cookie: object = None
        while True:
            page = await self.list_page(path, handle, cookie)
            yield page
            cookie = page.cookie
            if cookie is None:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Access):
    """What is needed to open a session: how to reach the cache of a job at one of its addresses."""

    address: str = ""
    """The mount address; empty: the files of this machine."""
    path: str = ""
    """The first path that will be used, to find the export if ``export`` is empty; ``Session.export`` is then the
    result."""

    @classmethod
    def of(cls, access: Access, address: str, path: str) -> Mount:
        """The mount of one address of a job, or of one of its items."""
        shared = {one.name: getattr(access, one.name) for one in fields(Access) if one.name != "addresses"}
        return cls(**shared, address=address, path=path)
