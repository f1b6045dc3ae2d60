"""Lists directories page by page, and handles what servers leave out, repeat or get wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import field
from typing import NamedTuple, Protocol, TypeVar

from cachewarmer.config import NfsSettings
from cachewarmer.errors import (
    CacheWarmerError,
    FileError,
    FileVanished,
    NfsStatusError,
    ProcedureUnavailable,
    RemoteProtocolError,
    StaleHandle,
    TransportError,
)
from cachewarmer.rpc import nfs3, nfs3_listing
from cachewarmer.rpc.nfs3_listing import NO_VERIFIER, BareEntry, Listing
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import DirectoryEntry, EntryError, FileKind, Page, PageRequest
from cachewarmer.targets.nfs3.directories import Directories
from cachewarmer.targets.nfs3.entries import KINDS, made_entry
from cachewarmer.targets.nfs3.requests import Asker
from cachewarmer.targets.nfs3.seen import SeenNames
from cachewarmer.values import dataclass

T = TypeVar("T")

LEAST_LISTING, FIRST_LISTING, MOST_LISTING = 64 * 1024, 128 * 1024, 1024 * 1024
"""Bytes requested by one listing call. A scan holds the first pages of many directories at the same time, and most
directories have no other: the first page is small, and those that follow are as large as the server prefers
(``dtpref``)."""
LOOKED_UP_TOGETHER = 256
"""Maximum number of entries of a page that are looked up at the same time: each is a coroutine, and takes memory."""
SPARE_PAGES = 3
"""Pages in a row without a new name that are accepted, in addition to the number of pages with new names: a server that
begins again first repeats all that it returned before."""


class ListingChanged(NfsStatusError):
    """NFS3ERR_BAD_COOKIE: the directory has changed, so that the listing can't continue; it can be begun again."""

    transient = True


@dataclass(eq=False, slots=True)
class _Progress:
    """The state of one listing."""

    seen: SeenNames = field(default_factory=SeenNames)
    pages: int = 0
    """The number of pages with a new name."""
    idle: int = 0
    """The number of pages in a row, up to now, without one."""
    began: float = 0.0


class ListCookie(NamedTuple):
    """The cookie of a page: where its listing continues."""

    cookie: int
    verifier: bytes
    progress: _Progress


class _Found(NamedTuple):
    """What one reply contains."""

    entries: list[DirectoryEntry]
    errors: list[EntryError]
    missing: list[tuple[int, BareEntry]]
    """Entries of which the server has left something out, each with the number of ``entries`` before it."""


class Ask(Protocol):
    """Makes a call: procedure, arguments, decoder of the results, path for errors, bytes of the reply."""

    def __call__(
        self, procedure: int, arguments: bytes, decode: Callable[[Unpacker], T], path: bytes, reply_bytes: int = ..., /
    ) -> Awaitable[T]: ...


class _AskedPage(Asker):
    """Receives the answer to the call that was made for a ``PageRequest``."""

    __slots__ = ("_directory", "_lister", "_request")

    def __init__(self, lister: Lister, request: PageRequest, directory: bytes) -> None:
        self._lister = lister
        self._request = request
        self._directory = directory

    def done(self) -> bool:
        return self._request.unwanted

    def set_result(self, result: Unpacker, /) -> None:
        self._request.on_done(self._lister.first_page(self._request.path, self._directory, result))

    def set_exception(self, exception: CacheWarmerError, /) -> None:
        self._request.on_done(exception if isinstance(exception, TransportError) else None)


class AskOnce(Protocol):
    """Makes a call without retries: procedure, arguments, bytes of the reply, and who receives the answer."""

    def __call__(self, procedure: int, arguments: bytes, reply_bytes: int, asker: Asker, /) -> None: ...


class Lister:
    """Makes the listings of one session.

    Args:
        settings: the limits of a listing.
        directories: the handles of the session.
        address: the mount address, for errors.
        ask: makes a call.
        ask_once: makes a call without retries and without a task.
        look: makes a LOOKUP.
        getattr_: makes a GETATTR.
        whole: turns a path of the session into one from the root of the server, for errors.
        clock: returns seconds.
    """

    def __init__(
        self,
        settings: NfsSettings,
        directories: Directories,
        address: str,
        *,
        ask: Ask,
        ask_once: AskOnce,
        look: Callable[[bytes, bytes, bytes], Awaitable[DirectoryEntry]],
        getattr_: Callable[[bytes, bytes], Awaitable[nfs3.Attributes]],
        whole: Callable[[bytes], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bytes = LEAST_LISTING
        """Bytes requested by one call; raised to what the server prefers (FSINFO)."""
        self._settings = settings
        self._directories = directories
        self._address = address
        self._ask = ask
        self._ask_once = ask_once
        self._look = look
        self._getattr = getattr_
        self._whole = whole
        self._clock = clock
        self._plus = True
        """Whether the server has READDIRPLUS, as far as known."""
        self._complete = True
        """Whether its listings have left nothing out so far."""

    def __repr__(self) -> str:
        return f"<Lister {self._address} plus={self._plus}>"

    def prefer(self, dtpref: int) -> None:
        """Takes ``dtpref``, the bytes that the server prefers for a listing (FSINFO, RFC 1813 section 3.3.19)."""
        self.bytes = max(LEAST_LISTING, min(MOST_LISTING, dtpref))

    async def page(self, path: bytes, handle: bytes, cookie: object) -> Page:
        """See ``Session.list_page``."""
        now = self._clock()
        at = cookie if isinstance(cookie, ListCookie) else ListCookie(0, NO_VERIFIER, _Progress(began=now))
        self._check_budget(path, at.progress, now)
        given = [handle]

        async def attempt() -> tuple[bytes, Listing[DirectoryEntry]]:
            directory = given.pop() if given else b""
            directory = directory or self._directories.known(path) or await self._directories.handle(path)
            return directory, await self._list(directory, path, at)

        try:
            directory, listing = await self._directories.retried(attempt)
        except NfsStatusError as error:
            if error.status == nfs3.NOENT:
                raise FileVanished.like(error) from error
            raise
        self._directories.remember(path, directory)
        found = _found(listing)
        if found.missing:
            await self._ask_missing(directory, path, found)
        return self._page(path, at, listing, found)

    def ask_page(self, request: PageRequest) -> bool:
        """See ``Session.ask_page``."""
        directory = request.handle or self._directories.known(request.path)
        if not (directory and self._plus and self._complete):
            return False
        size = min(FIRST_LISTING, self.bytes)
        arguments = nfs3_listing.encode_readdirplus(directory, 0, NO_VERIFIER, size, size)
        self._ask_once(nfs3.READDIRPLUS, arguments, size, _AskedPage(self, request, directory))
        return True

    def first_page(self, path: bytes, directory: bytes, results: Unpacker) -> Page | None:
        """Returns the first page of a directory from the results of READDIRPLUS; None if one call is not enough."""
        if nfs3.decode_status(results) != nfs3.OK:
            return None
        try:
            listing = nfs3_listing.decode_readdirplus(results, 0, DirectoryEntry, KINDS)
        except RemoteProtocolError:
            return None  # the listing by ``page``, which follows, raises the error
        found = _found(listing)
        if found.missing:
            self._complete = False
            return None
        self._directories.remember(path, directory)
        if listing.eof and len({entry[0] for entry in found.entries}) == len(found.entries):  # as nearly always
            return Page(found.entries, found.errors, None)
        return self._page(path, ListCookie(0, NO_VERIFIER, _Progress(began=self._clock())), listing, found)

    def _page(self, path: bytes, at: ListCookie, listing: Listing[DirectoryEntry], found: _Found) -> Page:
        # Last, when nothing can fail any more, so that this page can be requested again after a failure.
        entries = at.progress.seen.fresh(found.entries)
        duplicates = len(found.entries) - len(entries)
        cookie = None if listing.eof else self._next(at, listing, path, new=len(entries))
        return Page(entries, found.errors, cookie, duplicates)

    def _check_budget(self, path: bytes, progress: _Progress, now: float) -> None:
        most, seconds = self._settings.directory_entries, self._settings.directory_seconds
        problem = ""
        if most and progress.seen.count > most:
            problem, setting = f"it has more than {most:,} entries", "directory_entries"
        elif seconds and now - progress.began > seconds:
            problem, setting = f"listing it takes longer than {seconds:g} s", "directory_seconds"
        if problem:
            raise FileError(
                problem,
                doing="listing",
                subject=self._whole(path),
                address=self._address,
                advice=f"raise [nfs] {setting}",
            )

    async def _list(self, directory: bytes, path: bytes, at: ListCookie) -> Listing[DirectoryEntry]:
        """Makes a READDIRPLUS, or a READDIR if the server has no READDIRPLUS."""
        size, verifier = (self.bytes if at.cookie else min(FIRST_LISTING, self.bytes)), at.verifier
        while True:
            try:
                return await self._list_once(directory, path, at.cookie, verifier, size)
            except ProcedureUnavailable:
                if not self._plus:
                    raise
                self._plus = False
            except NfsStatusError as error:
                if error.status == nfs3.NOTSUPP and self._plus:
                    self._plus = False
                elif error.status == nfs3.TOOSMALL and size < MOST_LISTING:
                    size *= 2
                elif error.status == nfs3.BAD_COOKIE and verifier != NO_VERIFIER:
                    # Most servers change the verifier when the directory changes, but still know their cookies.
                    verifier = NO_VERIFIER
                elif error.status == nfs3.BAD_COOKIE:
                    raise ListingChanged(
                        error.status, error.procedure, error.path, error.name, address=error.address
                    ) from error
                else:
                    raise

    def _list_once(
        self, directory: bytes, path: bytes, cookie: int, verifier: bytes, size: int
    ) -> Awaitable[Listing[DirectoryEntry]]:
        if self._plus:
            return self._ask(
                nfs3.READDIRPLUS,
                nfs3_listing.encode_readdirplus(directory, cookie, verifier, size, size),
                lambda reply: nfs3_listing.decode_readdirplus(reply, cookie, DirectoryEntry, KINDS),
                path,
                size,
            )
        return self._ask(
            nfs3.READDIR,
            nfs3_listing.encode_readdir(directory, cookie, verifier, size),
            lambda reply: nfs3_listing.decode_readdir(reply, cookie),
            path,
            size,
        )

    def _next(self, at: ListCookie, listing: Listing[DirectoryEntry], path: bytes, *, new: int) -> ListCookie:
        progress = at.progress
        if new:
            progress.pages += 1
            progress.idle = 0
        else:
            progress.idle += 1
            if progress.idle > progress.pages + SPARE_PAGES:
                raise RemoteProtocolError(
                    "the server returns the same part of the directory over and over",
                    doing="READDIRPLUS" if self._plus else "READDIR",
                    subject=self._whole(path),
                    address=self._address,
                )
        return ListCookie(listing.cookie, listing.verifier, progress)

    async def _ask_missing(self, directory: bytes, path: bytes, found: _Found) -> None:
        """Requests what the server has left out, concurrently, and adds it to the entries, or to the errors."""
        prefix = path + b"/" if path else b""
        complete: list[DirectoryEntry] = []
        before = 0
        for start in range(0, len(found.missing), LOOKED_UP_TOGETHER):
            some = found.missing[start : start + LOOKED_UP_TOGETHER]
            looks = (self._look_at(directory, one, prefix + one.name) for _, one in some)
            answers = await asyncio.gather(*looks, return_exceptions=True)
            for (place, one), answer in zip(some, answers, strict=True):
                complete += found.entries[before:place]
                before = place
                if isinstance(answer, DirectoryEntry):
                    complete.append(answer)
                elif isinstance(answer, (TransportError, RemoteProtocolError)) or not isinstance(
                    answer, CacheWarmerError
                ):
                    raise answer
                elif not _is_gone(answer):
                    found.errors.append(EntryError(one.name, answer))
        found.entries[:] = [*complete, *found.entries[before:]]

    async def _look_at(self, directory: bytes, listed: BareEntry, path: bytes) -> DirectoryEntry:
        _, name, _, handle = listed
        try:
            if handle:
                return made_entry(name, await self._getattr(handle, path), handle)
            found = await self._look(directory, name, path)
        except StaleHandle:
            # The handles have become stale since the listing, in a failover. The path is looked up again.
            found = await self._directories.entry(path)
        if not self._plus and found.kind is FileKind.REGULAR:
            # Such a server may keep few handles (unfs3: 4,096), so the file is looked up shortly before it is read.
            return found._replace(handle=b"")
        return found


def _found(listing: Listing[DirectoryEntry]) -> _Found:
    """Sorts the entries of a reply."""
    if not listing.bare and _are_names([entry[0] for entry in listing.entries]):  # as nearly always
        return _Found(listing.entries, [], [])
    entries: list[DirectoryEntry] = []
    errors: list[EntryError] = []
    missing: list[tuple[int, BareEntry]] = []
    for one in _in_order(listing):
        if not _are_names([one.name]):
            problem = f"the server lists {one.name!r}, which is not a file name"
            errors.append(EntryError(one.name, FileError(problem)))
        elif isinstance(one, DirectoryEntry):
            entries.append(one)
        elif one.attributes is not None and KINDS[one.attributes.kind] not in (FileKind.REGULAR, FileKind.DIRECTORY):
            entries.append(made_entry(one.name, one.attributes, one.handle))
        else:
            missing.append((len(entries), one))
    return _Found(entries, errors, missing)


def _are_names(names: Sequence[bytes]) -> bool:
    """Whether all of them are names of files: not empty, and without a slash or a null byte."""
    joined = b"/".join(names)
    return b"" not in names and b"\0" not in joined and joined.count(b"/") < max(1, len(names))


def _in_order(listing: Listing[DirectoryEntry]) -> Iterator[DirectoryEntry | BareEntry]:
    before = 0
    for one in listing.bare:
        yield from listing.entries[before : one.place]
        yield one
        before = one.place
    yield from listing.entries[before:]


def _is_gone(error: CacheWarmerError) -> bool:
    return isinstance(error, FileVanished) or (isinstance(error, NfsStatusError) and error.status == nfs3.NOENT)
