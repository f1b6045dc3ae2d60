"""Checks what a server reports about the files of a target, in which replies and to which users. Reads none of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence

from cachewarmer.errors import CacheWarmerError
from cachewarmer.findings import Finding, ok, warning
from cachewarmer.model import WarmJob
from cachewarmer.paths import below, printable, to_bytes
from cachewarmer.rpc import nfs3
from cachewarmer.targets.base import DirectoryEntry, FileKind, Identity, Page
from cachewarmer.targets.meant import advise
from cachewarmer.targets.nfs3.session import Nfs3Session

ASKED_FILES = 20
FUTURE_SECONDS = 60.0
ROOT = Identity(0, 0)
STRANGER = Identity(65534, 65534)
"""Whom a server that squashes root takes it for, as a rule; else a user who owns nothing here."""


async def look_at_files(session: Nfs3Session, job: WarmJob) -> AsyncIterator[Finding]:
    """What there is to say of what is at the target's path."""
    path = job.warm_path if job.access.export else below(session.export, job.full_path)
    path_bytes = to_bytes(path.strip("/"))
    try:
        entry = await session.lookup(path_bytes)
    except CacheWarmerError as error:
        await advise(session, path_bytes, error)
        yield Finding.of("path", error)
        return
    if entry.kind is not FileKind.DIRECTORY:
        yield ok(
            "path", f"it is a {entry.kind.name.lower()} file" if entry.kind is FileKind.REGULAR else "it is a link"
        )
        if entry.kind is FileKind.REGULAR:
            async for found in _who_may(session, path_bytes, entry, [entry._replace(name=b"")]):
                yield found
        return
    before = session.snapshot().calls
    try:
        page = await session.list_page(path_bytes, entry.handle)
    except CacheWarmerError as error:
        yield Finding.of("listing", error)
        return
    yield _listing(page, before, session.snapshot().calls)
    if page.entries:
        yield await _attributes(session, path_bytes, page.entries[0])
    yield _clock(page)
    async for found in _who_may(session, path_bytes, entry, page.entries):
        yield found


def _listing(page: Page, before: Mapping[str, int], after: Mapping[str, int]) -> Finding:
    more = {name: after.get(name, 0) - before.get(name, 0) for name in ("GETATTR", "LOOKUP", "READDIR")}
    said = f"{len(page.entries)} entries in the first reply"
    if not page.entries:
        return ok("listing", "the directory is empty")
    if more["READDIR"] or more["LOOKUP"]:
        return warning(
            "listing", f"{said}, without handles: one more LOOKUP for each file", "enable READDIRPLUS on the server"
        )
    if more["GETATTR"]:
        return ok("listing", f"{said}, with handles and without attributes: one GETATTR more a file")
    return ok("listing", f"{said}, with handles and attributes")


def _clock(page: Page) -> Finding:
    """The protocol tells no time; but a file that was changed in the future does."""
    newest = max((one.mtime for one in page.entries), default=0.0)
    ahead = newest - time.time()
    if ahead > FUTURE_SECONDS:
        return warning("clock", f"a file was modified {ahead:.0f} s in the future", "check the clocks (NTP)")
    return ok("clock", "no file listed was modified in the future")


async def _attributes(session: Nfs3Session, above: bytes, entry: DirectoryEntry) -> Finding:
    """Whether LOOKUP gives attributes with what it finds: a list of files is looked up name by name."""
    before = session.snapshot().calls.get("GETATTR", 0)
    try:
        await session.lookup(_path(above, entry))
    except CacheWarmerError as error:
        return Finding.of("attributes", error)
    if session.snapshot().calls.get("GETATTR", 0) > before:
        return ok("attributes", "LOOKUP gives none: one GETATTR more for each file of a list")
    return ok("attributes", "LOOKUP gives them")


async def _who_may(
    session: Nfs3Session, above: bytes, entry: DirectoryEntry, entries: Sequence[DirectoryEntry]
) -> AsyncIterator[Finding]:
    """Whether we may read what root may, and whether root is root there: by ACCESS, of the first files."""
    files = [one for one in entries if one.kind is FileKind.REGULAR][:ASKED_FILES]
    try:
        yield await _identity(session, above, files)
        yield await _squash(session, above, [entry._replace(name=b""), *(one for one in files if one.name)])
    except CacheWarmerError as error:
        yield Finding.of("identity", error)


async def _identity(session: Nfs3Session, above: bytes, files: Sequence[DirectoryEntry]) -> Finding:
    """Whether what root may read may be read: by ACCESS, of the first files."""
    who = f"uid {session.uid}"
    if not files:
        return ok("identity", f"{who}; no file here to ask about")
    for one in files:
        path = _path(above, one)
        mine = await session.allowed(path, one.handle)
        if mine & nfs3.ACCESS_READ:
            continue
        name = printable(path)
        if session.uid != 0 and await session.allowed(path, one.handle, Identity(0, 0)) & nfs3.ACCESS_READ:
            return warning(
                "identity", f"{who} may not read /{name}, and root may", "read as root or as its owner (?uid=)"
            )
        if session.uid == 0:
            return warning(
                "identity", f"root may not read /{name}: the export squashes root", "read as a user who may (?uid=)"
            )
        return warning("identity", f"{who} may not read /{name}", "read as a user who may (?uid=)")
    return ok("identity", f"{who} may read the {len(files)} files asked about")


async def _squash(session: Nfs3Session, above: bytes, asked: Sequence[DirectoryEntry]) -> Finding:
    """Whether the export takes root for nobody: what root may, what a stranger may, and what we may, compared."""
    for one in asked:
        path = _path(above, one)
        root = await session.allowed(path, one.handle, ROOT)
        other = await session.allowed(path, one.handle, STRANGER)
        shown = f"/{printable(path)}"
        if root & ~other:
            return ok("root squash", f"none: root may do with {shown} what others may not")
        mine = await session.allowed(path, one.handle)
        if session.uid != 0 and mine & ~root:
            return ok("root squash", f"root is taken for nobody: uid {session.uid} may do more with {shown}")
        if session.uid == 0 and not root & nfs3.ACCESS_READ:
            return ok("root squash", f"root is taken for nobody: it may not read {shown}")
    return ok("root squash", "can't tell: root may do no more here than others")


def _path(above: bytes, one: DirectoryEntry) -> bytes:
    return above + b"/" + one.name if above and one.name else above or one.name
