"""What an earlier ledger says need not be read again: files that were read, and are as they were.

Kept as digests, 8 bytes a file, so ten million files take some 150 MB.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

from cachewarmer.broker.base import Broker
from cachewarmer.model import WarmJob
from cachewarmer.model.jobs import TIMES
from cachewarmer.model.outcomes import BASE, HOLDS, PIECES_AT_ONCE, FileOutcome, FileStatus, pack
from cachewarmer.paths import to_bytes, to_text
from cachewarmer.planning.seen import Seen

TOGETHER = 2000
"""Records in a piece."""


class Since:
    """The files that an earlier ledger holds. ``tell`` takes the line of each that is left out."""

    def __init__(self, *, each_address: bool, tell: Callable[[str], object]) -> None:
        self._each_address = each_address
        self._tell = tell
        self._held = Seen()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, one: FileOutcome) -> None:
        """A record of the earlier ledger."""
        if one.status in HOLDS:
            address = one.address if self._each_address else ""
            self._held.add(_stamp(address, to_bytes(one.path), one.size, one.mtime, one.ctime))

    def holds(self, address: str, path: bytes, size: int, times: bytes) -> bool:
        """Whether a file was read as it is now; then its record is told."""
        mtime, ctime = TIMES.unpack(times)
        if _stamp(address, path, size, mtime, ctime) not in self._held:
            return False
        self._tell(FileOutcome(to_text(path), size, mtime, ctime, FileStatus.UNCHANGED, 0, "", address, 0.0).line())
        return True


def _stamp(address: str, path: bytes, size: int, mtime: float, ctime: float) -> bytes:
    """All that says that a file is the same: times to the microsecond, for they went through doubles and decimals."""
    return b"%d %d %d %b\0%b" % (size, round(mtime * 1e6), round(ctime * 1e6), to_bytes(address), path)


async def base_pieces(broker: Broker, job: WarmJob) -> AsyncIterator[tuple[str, bytes]]:
    """The pieces that a job is compared with: those it came with, or those of the job that it names."""
    own = job.since == job.job_id
    async for key, piece in broker.ledger(job.since):
        if key.startswith(BASE) == own:
            yield key.removeprefix(BASE) if own else key, piece


async def store_base(broker: Broker, job_id: str, records: Iterable[FileOutcome]) -> None:
    """Keeps the records of a file with a job that is about to be submitted, for its scan to compare with."""
    held = (one._replace(error="").line() for one in records if one.status in HOLDS)
    number = 0
    pieces: list[tuple[str, bytes]] = []
    while lines := list(islice(held, TOGETHER)):
        pieces.append((f"{BASE}{number:016x}", pack(lines)))
        number += 1
        if len(pieces) == PIECES_AT_ONCE:
            await broker.add_to_ledger(job_id, pieces)
            pieces.clear()
    if pieces:
        await broker.add_to_ledger(job_id, pieces)


async def failed_paths(pieces: AsyncIterator[FileOutcome]) -> AsyncIterator[bytes]:
    """The paths of the records that say that a file failed."""
    async for one in pieces:
        if one.failed:
            yield to_bytes(one.path)
