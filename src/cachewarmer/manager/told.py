"""What a scan adds to the ledger of its job: names that it could not look up, and files it left out as unchanged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cachewarmer.broker.base import Broker
from cachewarmer.model.outcomes import KEPT, SCAN, FileOutcome, pack, scan_part

TOGETHER = 2000
"""Maximum number of records in a piece."""

Persist = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class ScanLedger:
    """The ledger records of the scan of one job, or of one of its addresses if each is a separate cache.

    ``address`` is empty for the job as a whole. ``persist`` makes a call to the broker, and retries it.
    """

    def __init__(self, broker: Broker, job_id: str, address: str, persist: Persist) -> None:
        self._broker = broker
        self._job_id = job_id
        self._persist = persist
        self._part = scan_part(address)
        self._number = 0
        self.failed: list[FileOutcome] = []
        self.unchanged: list[str] = []
        """Records as lines of JSON."""

    async def begin(self) -> None:
        """Begins a scan: removes whatever an earlier scan of the same part has written."""
        self.failed.clear()
        self.unchanged.clear()
        await self._persist(lambda: self._broker.forget_scanned(self._job_id, self._part))

    @property
    def waiting(self) -> int:
        """Number of records that are not written yet."""
        return len(self.failed) + len(self.unchanged)

    @property
    def is_whole(self) -> bool:
        """Whether enough records are waiting to fill a piece."""
        return self.waiting >= TOGETHER

    async def flush(self) -> None:
        """Writes all records that are waiting."""
        failed, unchanged = [one.line() for one in self.failed], self.unchanged[:]
        self.failed.clear()
        self.unchanged.clear()
        pieces = [self._piece(SCAN, some) for some in _parts(failed)]
        pieces += [self._piece(KEPT, some) for some in _parts(unchanged)]
        if pieces:
            await self._persist(lambda: self._broker.add_to_ledger(self._job_id, pieces))

    def _piece(self, kind: str, lines: Sequence[str]) -> tuple[str, bytes]:
        self._number += 1
        return f"{kind}{self._part}{self._number:08x}", pack(lines)


def _parts(lines: Sequence[str]) -> list[Sequence[str]]:
    return [lines[start : start + TOGETHER] for start in range(0, len(lines), TOGETHER)]
