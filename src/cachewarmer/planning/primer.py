"""Asks for the access of other users to each name, as their clients will, so that the cache has the answers.

A cache keeps the answers to ACCESS (RFC 1813, section 3.3.4) for each user separately, so warming as root leaves them
cold for everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachewarmer.errors import CacheWarmerError, InvalidValue, TransportError, UsageError
from cachewarmer.paths import join_bytes
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.targets.base import DirectoryEntry, FileKind, Identity, Question, Session

TOGETHER = 256
"""How many names are asked about at the same time; the window of the address limits the calls in flight."""

REMEMBERED = 10_000
"""Maximum number of directories remembered as asked about, because a list names many paths below the same ones."""


class Primer:
    """Asks for the access of ``users``, in the form that ``Identity.parse`` takes. It is false if there are none.

    Raises:
        UsageError: a user is in another form.
    """

    def __init__(self, users: Sequence[str], counter: ScanCounter) -> None:
        try:
            self._identities = [Identity.parse(one) for one in dict.fromkeys(users)]
        except InvalidValue as error:
            raise UsageError.like(error) from error
        self._counter = counter
        self._failed = 0
        self._asked: set[bytes] = set()
        """Directories that ``above`` has asked about."""

    def __bool__(self) -> bool:
        return bool(self._identities)

    async def above(self, session: Session, path: bytes) -> None:
        """Asks about each directory from the root of the export down to ``path``, and about ``path`` itself.

        Raises:
            TransportError: the address failed; other failures are counted.
        """
        parts = path.split(b"/") if path else []
        for depth in range(len(parts) + 1):
            above = b"/".join(parts[:depth])
            if above in self._asked:
                continue
            if len(self._asked) >= REMEMBERED:
                self._asked.clear()
            self._asked.add(above)
            await self._ask(session, above, b"")

    async def page(self, session: Session, directory: bytes, entries: Sequence[DirectoryEntry]) -> None:
        """Asks about the names of one directory, and reads the symbolic links among them.

        Raises:
            TransportError: the address failed; other failures are counted.
        """
        if not self._identities:
            return
        for start in range(0, len(entries), TOGETHER):
            await asyncio.gather(*(self._name(session, directory, one) for one in entries[start : start + TOGETHER]))

    async def _name(self, session: Session, directory: bytes, entry: DirectoryEntry) -> None:
        path = join_bytes(directory, entry.name)
        if entry.kind is FileKind.LINK:
            try:
                await session.read_link(path, entry.handle)
            except TransportError:
                raise
            except CacheWarmerError:
                self._failed += 1
        await self._ask(session, path, entry.handle)

    async def _ask(self, session: Session, path: bytes, handle: bytes) -> None:
        for identity in self._identities:
            try:
                if await session.ask(Question.ACCESS, path, handle, identity) is None:
                    self._counter.warn("only the direct NFS reader can ask for the access of other users")
                    return
            except TransportError:
                raise
            except CacheWarmerError:
                self._failed += 1

    def conclude(self) -> None:
        """Warns, at the end of a scan, how many requests failed."""
        if self._failed:
            self._counter.warn(f"{self._failed:,} requests for the access of other users were not answered")
