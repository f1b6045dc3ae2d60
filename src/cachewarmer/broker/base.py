"""The contract of a broker: at-least-once delivery, exactly-once accounting.

A broker keeps jobs, work items, leases, receipts and tallies, for any number of processes. All times are seconds; the
clock is the broker's own. Every method raises ``BrokerUnavailable`` (transient) when the broker can't be reached after
the retries of its own client, and translates foreign exceptions; callers do the rest of the retrying.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Learnt,
    Priority,
    Receipt,
    ScanTotals,
    WarmJob,
    WorkerReport,
    WorkItem,
)
from cachewarmer.values import dataclass

MOST_FLEET_SECONDS = 3600.0
"""Maximum time for which a manager may take a fleet without renewing."""
MANAGER_SECONDS = 10.0
"""Time between two calls of ``note_manager``. Users who wait are told that no manager is running after three times as
long.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """How to sign in to a broker in a cloud. Empty values are taken from the environment."""

    key: str = ""
    """An account key."""
    resource_group: str = ""
    """The resource group of the account, where its key is looked up if this identity has no role for the data."""
    connection_string: str = ""
    endpoint_suffix: str = ""
    """For clouds other than the public one."""


@dataclass(slots=True, eq=False)
class Lease:
    """The right to work on one item (or to manage one job) until ``expires_at``; renewing changes it in place."""

    token: str
    """Opaque to everybody but the broker (a pop receipt, the secret of a row)."""
    expires_at: float
    """Unix seconds by the broker's clock."""
    deliveries: int
    """How often the item was delivered, except for deliveries that were handed back without a failure; 1 the first
    time.
    """


@dataclass(slots=True, eq=False)
class JobLease(Lease):
    """A job to manage."""

    job: WarmJob
    """The job with its ``job_id`` filled in, even if the message had none."""


@dataclass(slots=True, eq=False)
class WorkLease(Lease):
    """An item to read."""

    item: WorkItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The amount of work, for the policy of the fleet. The numbers may be a few seconds old."""

    unsettled_items: int = 0
    """Published and not settled, of jobs that are neither over nor paused: a leased item counts until its receipt is
    written. While a scan continues, this may be too many, but is 0 only if nothing is left that was published."""
    unsettled_files: int = 0
    unsettled_bytes: int = 0
    """The total size of those items, as far as the scans have recorded it."""
    scanning_jobs: int = 0
    """Jobs whose scan is not finished, and not paused: they may produce more work."""
    active_jobs: int = 0
    """Jobs that are not in a final state, paused ones too."""
    waiting_items: int = 0
    leased_items: int = 0
    """Items of any job on the queue, and those that workers hold. If the service only counts the sum, it is in
    ``waiting_items``."""
    stray_items: int = 0
    """Items on the queue while no job is active: of jobs that ended, or of a job that is not known yet."""

    @classmethod
    def of(cls, statuses: Iterable[JobStatus], *, waiting_items: int, leased_items: int = 0) -> Backlog:
        """The remaining work of jobs, from their status: published less settled, in O(workers)."""
        active = [status for status in statuses if not status.state.final]
        at_work = [status for status in active if status.state is not JobState.PAUSED]
        left = [(status, max(0, status.scan.items - status.settled_items)) for status in at_work]
        return cls(
            unsettled_items=sum(items for _, items in left),
            unsettled_files=sum(_files_left(status) for status, items in left if items),
            unsettled_bytes=sum(_bytes_left(status) for status, items in left if items),
            scanning_jobs=sum(status.state in (JobState.QUEUED, JobState.SCANNING) for status in active),
            active_jobs=len(active),
            waiting_items=waiting_items,
            leased_items=leased_items,
        )


def _files_left(status: JobStatus) -> int:
    done = sum(tally.files + tally.failed_files + tally.vanished_files for tally in status.tallies)
    return max(0, status.scan.files - done - status.poisoned_files)


def _bytes_left(status: JobStatus) -> int:
    return max(0, status.scan.bytes - sum(tally.bytes for tally in status.tallies))


@dataclass(frozen=True, slots=True)
class JobLook:
    """What a worker needs to know about a job whose items it reads."""

    state: JobState
    bandwidth: Bandwidth | None = None
    """As ``limit`` set it; None: as in the items."""
    learnt: Learnt | None = None
    """As ``keep_learnt`` has kept it; None: nothing is, or nothing that makes sense."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A permission of this process. ``call`` raises ``BrokerError`` if it is missing."""

    what: str
    """Such as ``work queue``."""
    allowed: str
    """What is allowed if ``call`` returns."""
    mend: str
    """Which component needs it, and what grants it."""
    call: Callable[[], Awaitable[object]]


class Broker(ABC):
    """See the module. Use it as an async context manager. Opening creates what is missing, unless ``create=False``."""

    url: str
    """It may hold a password: show ``shown``."""
    workers_are_rented: bool = False
    """Whether its workers may run on machines that can be evicted at short notice."""
    is_private: bool = False
    """Whether only the user of this process can submit jobs, which may then name any file of this machine."""
    chooses_jobs: bool = True
    """Whether ``claim_job`` can claim a particular job, as ``warm`` and ``watch`` on one machine need it."""
    max_message_bytes: int = 0
    """Maximum size of a message in bytes; 0: no limit. The planner keeps items below it."""

    @property
    def shown(self) -> str:
        """The URL without its password, for messages and logs."""
        return self.url

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abstractmethod
    async def open(self) -> None:
        """Connects; creates queues, tables or files that are missing.

        Raises:
            NothingThere: it was made with ``create=False``, and something is missing. Nothing was created.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes all connections; leases simply expire. Idempotent."""

    # -- jobs ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, job: WarmJob, file_list: AsyncIterable[bytes] | None = None) -> str:
        """Stores and queues a job; returns its id (``job.job_id`` if set, else a new one).

        ``file_list`` gives the chunks of a ``--files-from`` list, stored before the job can be claimed. Submitting
        an id that exists already is a no-op: a caller may repeat a call whose answer it did not get.
        """

    @abstractmethod
    def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        """The chunks of the job's stored list, in order, as they were given."""

    @abstractmethod
    async def claim_job(
        self, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> JobLease | None:
        """Takes a job that nobody manages: a new one, or one whose manager's lease ran out. None if there is none.

        Where several wait, ``model.Turns`` says which goes first, the oldest of its priority. ``least`` takes only those
        of at least that priority.

        ``job_id`` takes that job or none; a broker that is not ``chooses_jobs`` raises ``BrokerError`` when it is given.

        A message that can't be understood goes to poison with its reason, at once, and the next one is tried. A job
        already in a final state is settled and passed over. A job whose scan outlived more than ``max_deliveries``
        managers, none of which handed it back, fails instead of being returned, unless it is asked for by its id: whoever
        does that knows what to expect.
        """

    @abstractmethod
    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        """Renews the lease. Raises ``LeaseLost`` if another manager may have the job by now."""

    @abstractmethod
    async def release_job(self, lease: JobLease) -> None:
        """Hands a job back, to be claimed again at once (manager shutdown). A lost lease is not an error."""

    @abstractmethod
    async def settle_job(self, lease: JobLease) -> None:
        """Takes the job off the queue for good: it is in a final state. A lost lease is not an error."""

    @abstractmethod
    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        """Moves a job along ``model.TRANSITIONS``; the broker stamps started_at (to scanning) and finished_at.

        ``cancel``, ``pause`` and ``resume`` are calls of this (resume: to warming if the scan is finished, else to
        scanning). Same state: a no-op. A job in a final state never changes.

        Raises:
            UnknownJob, InvalidTransition.
        """

    @abstractmethod
    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        """Stores the scan's totals. ``totals.finished`` and state scanning: the job becomes warming. Totals that are
        finished are never overwritten by unfinished ones.

        Raises:
            UnknownJob. LeaseLost: this process had the job, and another manager has taken it or scans it again. Who still holds
            the job's lease releases it then: the manager that takes it next scans it again.
        """

    @abstractmethod
    async def look(self, job_id: str) -> JobLook:
        """What workers repeatedly ask about a job, as cheaply as possible. It need not include final states that only
        ``status`` derives. Raises ``UnknownJob``.
        """

    async def state(self, job_id: str) -> JobState:
        """The state of ``look``."""
        return (await self.look(job_id)).state

    @abstractmethod
    async def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        """Changes the bandwidth of a job. Its workers apply it within seconds.

        Raises:
            UnknownJob. InvalidTransition: the job is in a final state.
        """

    @abstractmethod
    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        """Stores with a job what is known about its addresses and about what limits it, replacing what was stored
        before. ``look`` returns it with its age by the broker's clock, and ``status`` what limits the job; also when
        the job is over.
        Raises ``UnknownJob``.
        """

    @abstractmethod
    async def status(self, job_id: str) -> JobStatus:
        """The job's status, in O(workers); ``JobStatus.settled`` applied. Raises ``UnknownJob``."""

    @abstractmethod
    async def jobs(self) -> list[JobStatus]:
        """The status of every job the broker remembers, newest first."""

    @abstractmethod
    async def tidy(self, keep_seconds: float) -> None:
        """Forgets jobs that ended ``keep_seconds`` ago or earlier, and drops what served only while others ran.

        For managers to call from time to time; any number of them may do so at once.
        """

    # -- what keeps a job from waiting forever --------------------------------------------------------------------

    @abstractmethod
    async def stranded(self, job_id: str) -> bool:
        """Whether nobody can ever settle what is left of a job: its scan is finished and items of it are not settled,
        but none of them waits and nobody holds one. Their messages were deleted by hand, or another program took them.

        A broker that can look knows at once. One whose queue can't be searched has to see two lease times go by
        without a message on it and without a receipt, between two calls of this by the same process: the job's manager
        calls it every few seconds while it waits for the job, and acts on the first True. Raises ``UnknownJob``.
        """

    @abstractmethod
    async def begin_scan_again(self, job_id: str) -> bool:
        """Leaves behind all that was published and counted of a stranded job, and moves it back to scanning: the caller
        scans it once more, under the lease it has. For True the job has been moved. False: that was done before, or the
        job is not in the state for it; nothing was changed, and the caller fails the job with the reason.

        A repeated call whose first answer was lost returns True, as long as that scan has not finished.

        Raises:
            UnknownJob. LeaseLost: this process had the job, and another manager has taken it.
        """

    async def revive(self, job_id: str) -> bool:
        """Moves a failed job back to its previous state, keeping its counts, to be claimed and gone on with.

        False: the job has not failed, or the broker does not keep what it would take; nothing was changed. Raises
        ``UnknownJob``.
        """
        await self.state(job_id)
        return False

    @abstractmethod
    async def note_manager(self, name: str) -> None:
        """Records that the manager of that name is running. Managers call this about every ``MANAGER_SECONDS``.

        A broker whose jobs can get lost from its queue looks for those here and puts them back, once; a job that is
        lost again fails with the reason.
        """

    @abstractmethod
    async def manager_seen(self) -> float | None:
        """Seconds since a manager was last running; None: there has never been one."""

    @abstractmethod
    async def take_fleet(self, fleet: str, manager: str, seconds: float) -> bool:
        """Whether ``manager`` is the one that drives the fleet of that name, until ``seconds`` from now. False: another
        manager is. Whoever has it renews it by the same call, and gives it back with 0 seconds.

        ``manager`` is a name that no other process has.
        """

    @abstractmethod
    async def note_worker(self, report: WorkerReport) -> None:
        """Stores the report of a worker process, replacing its previous one (``report.key``). Workers call this every
        ``model.live.NOTE_SECONDS``. It only matters for monitoring, and for sharing the bandwidth of a job.
        """

    @abstractmethod
    async def workers(self, job_id: str = "") -> list[WorkerReport]:
        """The last report of each worker, or of those of ``job_id`` if given, by name. ``seen_seconds`` is its age by
        the broker's clock. Those not heard of for ``model.live.KEEP_SECONDS`` are left out, and
        ``tidy`` forgets them. A row that is invalid is named once and passed over.
        """

    # -- the ledger of a job ---------------------------------------------------------------------------------------

    @abstractmethod
    def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """The pieces of a job's ledger with their keys, in order of the keys (see ``model.outcomes``); none where no
        ledger is kept. The piece of an item is written in the very step that counts the item, so once; that of an item
        that is given up, in the step that counts it as such.
        """

    @abstractmethod
    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Keeps pieces that no receipt brings, in the place of those with the same keys: of the scan, by the job's
        manager, or those of ``BASE``, before the job is submitted.

        Raises:
            LeaseLost: this process had the job, and another manager has taken it.
        """

    @abstractmethod
    async def forget_scanned(self, job_id: str, part: str) -> None:
        """Drops the pieces that a scan of the job, or of a part of it, wrote: it begins again. Their keys begin with
        ``SCAN`` or ``KEPT``, and ``part``.

        Raises:
            LeaseLost: as ``add_to_ledger``.
        """

    @abstractmethod
    async def forget_ledger(self, job_id: str) -> None:
        """Drops all pieces of a job that is over, but keeps its report. No error if there are none."""

    # -- work ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def publish(self, items: Sequence[WorkItem]) -> None:
        """Makes items available. Each id is published once in a scan: an item whose id was published before (a list
        names it twice, a manager scanned twice) may be delivered again, but never counts again: neither among the
        ``scan.items`` of a status nor in a tally. What ``record_scan`` is told of ``items`` gives way to that count.
        """

    @abstractmethod
    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        """Up to ``most`` items, oldest first; an empty list: nothing to do now. Does not wait.

        Where jobs of several priorities have items, ``model.Turns`` says how many of each: the more urgent have most of
        them, and the others a share that never ends. ``least`` takes only items of at least that priority.

        ``job_id`` takes items of that job only; a broker whose queue can't choose raises ``BrokerError`` when it is
        given.

        Items of jobs that are cancelled or failed are dropped; those of paused jobs are left or handed back. Where
        the queue can't tell, the worker checks ``state``. An item with more than ``max_deliveries`` failed
        deliveries goes to poison instead of being returned; one that can't be understood goes there at once.
        """

    def trials(self) -> Sequence[Trial]:
        """The permissions that components need here, each with a call that tests it without changing anything."""
        return ()

    @property
    def untried(self) -> Sequence[str]:
        """Further permissions that can't be tested without a change."""
        return ()

    async def clock_ahead(self) -> float | None:
        """How many seconds the broker's clock is ahead of this machine's; None: it is the same clock."""
        return None

    async def wait_for_work(self, seconds: float) -> None:
        """Returns when there may be a job or an item to claim: after ``seconds``, or sooner where the broker can tell.

        For those who have nothing else to do: it may keep a connection busy. It never fails, and may be cancelled.
        """
        await asyncio.sleep(seconds)

    @abstractmethod
    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        """Renews the lease. Raises ``LeaseLost`` if another worker may have the item by now."""

    @abstractmethod
    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        """Writes receipts and the worker's tally of each job in one atomic step per job, then lets go of the items.

        For each result: True if it was counted; False if it was counted before by another, or its lease was lost. Where
        this worker counted it itself in a call whose answer was lost, either may come back.
        After an exception a caller may call again with the
        same arguments: nothing is counted twice.
        """

    @abstractmethod
    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        """Hands an item back. A ``reason`` counts against it: after ``max_deliveries`` such failures it goes to poison
        (its files count as failed), and True is returned. An empty reason (pause, shutdown, eviction) costs nothing.
        A lost lease is not an error.

        What the lease's item says has been read of it (``WorkItem.came``) is kept for its next delivery, where there is room
        for that.
        """

    @abstractmethod
    async def backlog(self) -> Backlog:
        """The amount of work of all jobs."""
