"""The contract between the stages that plan and read, and whatever holds the files.

A ``Session`` is one mount address, opened. It lists directories and reads byte ranges; it knows how many calls may be
in flight (the window) and keeps that many going as long as it has requests, across files and across work items.
Listing awaits; reading does not: a request is queued, and its ``on_done`` is called on the event loop, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field, fields
from enum import IntEnum
from typing import NamedTuple, Protocol

from cachewarmer.errors import CacheWarmerError, FileError, InvalidValue
from cachewarmer.model import Access
from cachewarmer.model.parts import Range
from cachewarmer.targets.latency import LatencyHistogram
from cachewarmer.values import dataclass
from cachewarmer.wire import MAX_ID


class FileKind(IntEnum):
    """What a name stands for (``ftype3``, RFC 1813 section 2.5, folded to what matters here)."""

    REGULAR = 1
    DIRECTORY = 2
    LINK = 5
    SPECIAL = 6


class DirectoryEntry(NamedTuple):
    """One name in a directory, with all that planning needs; never ``.`` or ``..``."""

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
    """Tells a file from every other of its export (``fileid3``, RFC 1813 section 2.5); 0 if unknown."""
    links: int = 1
    """Names that the file has, as far as known."""
    ctime: float = 0.0
    """Unix seconds: when the file's data or attributes changed last; 0 if unknown."""


class EntryError(NamedTuple):
    """A name that is there but could not be looked at."""

    name: bytes
    error: CacheWarmerError


class Page(NamedTuple):
    """A part of a directory, in the server's order."""

    entries: Sequence[DirectoryEntry]
    errors: Sequence[EntryError]
    cookie: object
    """Opaque: hand it to ``list_page`` to continue; None: that was the last page."""
    duplicates: int = 0
    """Names that the server listed again; they are not among the entries."""
    device: int = 0
    """Tells the file system that the directory is on from others of this machine; 0 if unknown."""


@dataclass(slots=True, eq=False)
class ReadRequest:
    """One byte range of one file to be read and thrown away. The session fills in what follows ``on_done``."""

    path: bytes
    """Below the session's export, without a leading slash: to resolve the handle again where it went stale."""
    handle: bytes
    """Empty: the session resolves the path first."""
    start: int
    stop: int
    """Half-open range of bytes; a session never asks for a byte at or past ``stop``. The caller may lower it at any
    time to end the request early: the session looks at it before every call."""
    on_done: Callable[[ReadRequest], None]
    context: object = None
    """The caller's own."""
    in_order: bool = False
    """Whether a request that is given later waits until all of this one is asked for, where the session can do so."""
    bytes_read: int = 0
    calls: int = 0
    """READ calls it took; none where the cache was asked to fill itself."""
    put_off: bool = False
    """The server has answered that it is to be asked again later (NFS3ERR_JUKEBOX): nobody waits for an answer now."""
    seconds: float = 0.0
    """Time from the first call to the last reply."""
    error: CacheWarmerError | None = None
    """None: read to ``stop``, or to the end of a file that had become shorter. ``FileVanished`` if it is gone;
    ``TransportError`` if the address does not answer: then nothing is known about the file."""
    left: Sequence[Range] | None = None
    """With a ``TransportError``: what had not come until then, in its order; None: nobody knows, or all of it."""
    once: bool = False
    """Read for its time: the cache is not given time to keep it, nor read again where it has not."""


class Supply(ABC):
    """Requests that are made one by one, each when its turn has come.

    Those of a work item are thousands. Made all at once, they and what belongs to them would leave the processor's
    caches long before they are used.
    """

    __slots__ = ()

    left: int
    """How many have not been taken yet. Whoever gives the supply may end it by setting this to 0."""
    in_order: bool = False
    """Whether its requests are ``in_order``."""

    @abstractmethod
    def take(self) -> ReadRequest:
        """The next request; asked for only while some are left."""


@dataclass(slots=True)
class Window:
    """How much may be in flight at one address, and how much is. Listing and reading share it."""

    calls: int
    """The maximum of calls in flight; may be set at any time, and is at least 1."""
    bytes: int
    """The maximum of bytes asked for and not yet here."""
    in_flight: int = 0
    """Calls."""
    bytes_in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """What a session has done since it was opened, and what it is doing."""

    calls: Mapping[str, int]
    """Calls sent so far, by the procedure's name; for a local directory by the system call's."""
    window_calls: int
    in_flight: int
    waiting: int
    """READ requests not yet done, those in flight among them."""
    bytes: int
    """Payload of READ replies."""
    retries: int = 0
    """Calls sent again because their connection was lost."""
    jukebox_waits: int = 0
    """Answers such as NFS3ERR_JUKEBOX after which the server was waited for."""
    reconnects: int = 0
    """Connections that took the place of a lost one."""
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    """Latencies of READ calls, from sending to the end of the reply."""
    others_in_flight: int = 0
    """Calls in flight other than READs."""


class Question(IntEnum):
    """A call other than READ that is made for how long its answer takes, or for what the answer leaves in a cache."""

    ATTRIBUTES = 1
    """What a file is (GETATTR)."""
    ACCESS = 2
    """What a user may do with it (ACCESS)."""
    ORIGIN = 3
    """What a read-through cache has to ask its origin for (FSSTAT: space that is free there)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as AUTH_SYS names it (RFC 5531 appendix A)."""

    uid: int
    gid: int
    gids: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From ``UID[:GID[,GID...]]``; without a group, the one of the same number.

        Raises:
            InvalidValue: it isn't one.
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
    """What a new connection tells of the way to an address, in seconds."""

    way_idle_seconds: float
    """The shortest handshake so far: the round trip without load."""
    way_seconds: float
    """That of this connection: longer where it waits in a queue on the way. No thread of the server is needed."""
    null_seconds: float
    """The quickest of some NULL calls on it, each of which needs one."""


class Canary(Protocol):
    """A connection apart from all others; how long its calls take is what another client waits for a server thread."""

    path_seconds: float
    """How long the handshake of the connection took, which waits for no thread; 0 if unknown."""

    async def call(self) -> float:
        """Makes one call that needs no file; the seconds until its answer reached this machine.

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
    """Whether the seconds of a ``ReadRequest`` are what the answer took alone, as a thread of its own measured them. Else
    they are as coarse as the loop's clock, and one who wants to know better takes the time himself."""
    asks_by_counts: bool = False
    """Whether what it says of the origin comes from counts that the cache keeps, rather than from a round trip; and whether the
    cache keeps what was read only some time later."""
    export: str = "/"
    """What was mounted: every path of this session is below it. ``/`` for a local directory."""
    window: Window
    """What may be in flight, and is."""

    @abstractmethod
    def snapshot(self) -> SessionSnapshot:
        """What the session has done so far; cheap enough to ask for some times a second."""

    @abstractmethod
    async def lookup(self, path: bytes) -> DirectoryEntry:
        """The entry at a path below the export (``b""`` is the root). Links are not followed.

        Raises:
            FileVanished: nothing is there. NfsStatusError, FileError: it is there and may not be looked at.
        """

    @abstractmethod
    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        """The next part of the directory at ``path``; ``handle`` may be empty. Starts with ``cookie`` None.

        Every entry that comes back has its kind, size and (where there are handles) handle: what the server left
        out was asked for. A listing whose cookie went bad starts again by itself, or raises a transient error.
        """

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:  # noqa: ARG002  # for targets that have links
        """What the symbolic link at ``path`` holds.

        Raises:
            FileError: it isn't one, or it may not be read.
        """
        raise FileError("it is a symbolic link, which can't be read here", subject=b"/" + path)

    async def exports(self) -> Sequence[str]:
        """The exports that the server shows; empty where there are none, or it shows none."""
        return ()

    @abstractmethod
    def read(self, request: ReadRequest) -> None:
        """Queues a request; returns at once. ``request.on_done`` is called exactly once, later, on the event loop."""

    def read_all(self, supply: Supply) -> None:
        """Queues all requests of a supply as one; each of them that is taken is as if it were given to ``read`` then."""
        while supply.left:
            self.read(supply.take())

    async def probe(self) -> float:
        """Asks the address whether it answers, by one cheap call apart from all others; returns the seconds it took.

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
        """Asks about the file at ``path``, as another user where ``identity`` says so; the seconds that the answer took.

        None: this target has no such call.

        Raises:
            CacheWarmerError: it is refused, or there is no answer.
        """
        return None

    def canary(self) -> Canary | None:
        """A new canary for this address; None where no call holds a thread of a server."""
        return None

    async def feel(self) -> Felt | None:
        """Makes a connection, asks what needs no file, and closes it; None where there is no server to ask.

        Raises:
            CacheWarmerError: there is no answer.
        """
        return None

    def set_window(self, calls: int) -> None:  # noqa: B027  # for those that share one with other sessions
        """Changes how many calls may be in flight, where calls hold a thread of a cache; those that are continue."""

    def heard(self) -> object:
        """A value that stays equal for as long as calls are in flight and nothing at all is received.

        The default never does, for what can't fall silent.
        """
        return object()

    def interrupt(self, error: CacheWarmerError) -> None:  # noqa: B027  # what can't fall silent has nothing to do here
        """Ends all that is in flight or waiting with ``error``, at once; the session stays usable."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the session; requests not yet done end with ``ConnectionLost``. Idempotent."""

    async def list_directory(self, path: bytes, handle: bytes) -> AsyncIterator[Page]:
        """All pages of a directory, one at a time."""
        cookie: object = None
        while True:
            page = await self.list_page(path, handle, cookie)
            yield page
            cookie = page.cookie
            if cookie is None:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Access):
    """Everything needed to open a session: how a job's cache is reached, at one of its addresses."""

    address: str = ""
    """Empty: this machine's own files."""
    path: str = ""
    """The path that will be asked for first, to find the export by where ``export`` is empty; ``Session.export`` then
    says which it was."""

    @classmethod
    def of(cls, access: Access, address: str, path: str) -> Mount:
        """What opens one address of a job, or of one of its items."""
        shared = {one.name: getattr(access, one.name) for one in fields(Access) if one.name != "addresses"}
        return cls(**shared, address=address, path=path)
