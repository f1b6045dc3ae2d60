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
    """Items that are published and not settled, of jobs that are neither over nor paused. A leased item counts until
    its receipt is written. While a scan continues, this may be too high, but is 0 only if no published item is left."""
    unsettled_files: int = 0
    """The number of files of those items, as far as the scans have recorded it."""
    unsettled_bytes: int = 0
    """The total size of those items, as far as the scans have recorded it."""
    scanning_jobs: int = 0
    """Jobs whose scan is not finished and not paused, and may produce more work."""
    active_jobs: int = 0
    """Jobs that are not in a final state, including paused ones."""
    waiting_items: int = 0
    """Items of any job on the queue. A service that only counts the sum includes leased ones here."""
    leased_items: int = 0
    """Items of any job that workers hold; 0 if the service does not count them."""
    stray_items: int = 0
    """Items on the queue while no job is active: of jobs that have ended, or of a job that is not known yet."""

    @classmethod
    def of(cls, statuses: Iterable[JobStatus], *, waiting_items: int, leased_items: int = 0) -> Backlog:
        """The remaining work of jobs, from their statuses: what is published less what is settled, in O(workers)."""
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
    """The bandwidth that ``limit`` set; None: the one in the items holds."""
    learnt: Learnt | None = None
    """What ``keep_learnt`` stored; None: nothing was stored, or it is not valid."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A test of a permission of this process. ``call`` raises ``BrokerError`` if the permission is missing."""

    what: str
    """What it is about, such as ``work queue``."""
    allowed: str
    """What is permitted if ``call`` returns."""
    mend: str
    """Which component needs it, and what grants it."""
    call: Callable[[], Awaitable[object]]


class Broker(ABC):
    """The contract of a broker; see the module. Use it as an async context manager.

    Opening it creates what is missing, unless it was made with ``create=False``.
    """

    url: str
    """Its URL, which may contain a password: for messages, use ``shown``."""
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
        """Takes a job that nobody manages: a new one, or one whose manager's lease has expired. None: there is none.

        If several wait, ``model.Turns`` chooses a priority, and its oldest job is taken. ``least`` restricts the choice
        to jobs of at least that priority, and ``job_id`` to that job; a broker without ``chooses_jobs`` raises
        ``BrokerError`` if it is given.

        A message that can't be parsed goes to poison with its reason at once, and the next one is tried. A job already
        in a final state is settled and skipped. If ``max_deliveries`` managers have lost a job before its scan was
        finished, without handing it back, it fails instead of being returned, unless ``job_id`` names it.
        """

    @abstractmethod
    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        """Renews the lease. Raises ``LeaseLost`` if another manager may have the job by now."""

    @abstractmethod
    async def release_job(self, lease: JobLease) -> None:
        """Hands a job back when a manager stops, to be claimed again at once. A lost lease is not an error."""

    @abstractmethod
    async def settle_job(self, lease: JobLease) -> None:
        """Removes a job in a final state from the queue. A lost lease is not an error."""

    @abstractmethod
    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        """Moves a job to another state (``model.TRANSITIONS``), and returns its status.

        The move to scanning sets ``started_at``, and a final state ``finished_at``. Nothing happens if the job is in
        that state already. ``cancel``, ``pause`` and ``resume`` are calls of this method; ``resume`` moves a job to
        warming if its scan is finished, else to scanning.

        Raises:
            UnknownJob. InvalidTransition: the state can't be reached from the job's; none can from a final state.
        """

    @abstractmethod
    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        """Stores the totals of a job's scan. Finished totals move a job from scanning to warming.

        Unfinished totals never overwrite finished ones.

        Raises:
            UnknownJob. LeaseLost: this process had the job, and another manager has taken it or scans it again. A
                caller that still holds the lease then releases it, and the next manager scans the job again.
        """

    @abstractmethod
    async def look(self, job_id: str) -> JobLook:
        """What workers repeatedly ask about a job, as cheaply as possible.

        It need not show final states that only ``status`` derives. Raises ``UnknownJob``.
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
        """Stores with a job what is known about its addresses and about what limits it, replacing what was stored.

        ``look`` returns it with its age by the broker's clock, and ``status`` what limits the job, even when the job is
        over. Raises ``UnknownJob``.
        """

    @abstractmethod
    async def status(self, job_id: str) -> JobStatus:
        """The status of a job, with ``JobStatus.settled`` applied, in O(workers). Raises ``UnknownJob``."""

    @abstractmethod
    async def jobs(self) -> list[JobStatus]:
        """The status of every job that the broker remembers, newest first."""

    @abstractmethod
    async def tidy(self, keep_seconds: float) -> None:
        """Forgets jobs that ended ``keep_seconds`` ago or earlier, and what ended jobs no longer need.

        Managers call this from time to time; any number of them may do so at once.
        """

    # -- what keeps a job from waiting forever --------------------------------------------------------------------

    @abstractmethod
    async def stranded(self, job_id: str) -> bool:
        """Whether what is left of a job can never be settled.

        That is so if its scan is finished and some items are not settled, but none of them waits and nobody holds one:
        their messages were deleted by hand, or another program took them. The manager of a job calls this every few
        seconds while it waits for the job, and acts on the first True.

        A broker that can search its queue knows at once. Otherwise, two lease times must pass without a message on the
        queue and without a receipt, between two calls by the same process. Raises ``UnknownJob``.
        """

    @abstractmethod
    async def begin_scan_again(self, job_id: str) -> bool:
        """Discards all that was published and counted of a stranded job, and moves it back to scanning.

        True: the job was moved, and the caller scans it once more under its lease. False: the job was moved back
        before, or its state does not permit it; nothing was changed, and the caller fails the job with the reason.

        A repeated call whose first answer was lost returns True, as long as that scan has not finished.

        Raises:
            UnknownJob. LeaseLost: this process had the job, and another manager has taken it.
        """

    async def revive(self, job_id: str) -> bool:
        """Moves a failed job back to its previous state, with its counts, so that it can be claimed and continued.

        False: the job has not failed, or the broker has not kept what that requires; nothing was changed. Raises
        ``UnknownJob``.
        """
        await self.state(job_id)
        return False

    @abstractmethod
    async def note_manager(self, name: str) -> None:
        """Records that the manager ``name`` is running. Managers call this about every ``MANAGER_SECONDS``.

        A broker whose queue can lose jobs looks for lost ones in this call and puts them back once; a job that is lost
        again fails with the reason.
        """

    @abstractmethod
    async def manager_seen(self) -> float | None:
        """Seconds since a manager was last known to run; None: there has never been one."""

    @abstractmethod
    async def take_fleet(self, fleet: str, manager: str, seconds: float) -> bool:
        """Takes the right to drive a fleet for ``seconds`` from now; returns False if another manager has it.

        The manager that has it renews it with the same call, and gives it back with 0 seconds. ``manager`` is a name
        that no other process has.
        """

    @abstractmethod
    async def note_worker(self, report: WorkerReport) -> None:
        """Stores the report of a worker process in place of its previous one (by ``report.key``).

        Workers call this every ``model.live.NOTE_SECONDS``. Reports serve monitoring, and sharing the bandwidth of a
        job, only.
        """

    @abstractmethod
    async def workers(self, job_id: str = "") -> list[WorkerReport]:
        """The last report of each worker (if ``job_id`` is given, of those that had items of it), by name.

        Its ``seen_seconds`` is its age by the broker's clock. Reports older than ``model.live.KEEP_SECONDS`` are left
        out, and ``tidy`` forgets them. An invalid row is logged once and skipped.
        """

    # -- the ledger of a job ---------------------------------------------------------------------------------------

    @abstractmethod
    def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yields the pieces of a job's ledger with their keys, sorted by key (see ``model.outcomes``).

        There are none if no ledger is kept. The piece of an item is written in the same step that counts the item, and
        so exactly once; that of an item that is given up, in the step that counts it as given up.
        """

    @abstractmethod
    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Stores pieces that are not part of a receipt, in place of those with the same keys.

        These are the pieces of the scan, from the manager of the job, or those of ``BASE``, from before the job is
        submitted.

        Raises:
            LeaseLost: this process had the job, and another manager has taken it.
        """

    @abstractmethod
    async def forget_scanned(self, job_id: str, part: str) -> None:
        """Drops the pieces that a scan of the job, or of a part of it, has written, because it begins again.

        Their keys begin with ``SCAN`` or ``KEPT``, followed by ``part``.

        Raises:
            LeaseLost: as ``add_to_ledger``.
        """

    @abstractmethod
    async def forget_ledger(self, job_id: str) -> None:
        """Drops all pieces of a job that is over, but keeps its report. It is not an error if there are none."""

    # -- work ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def publish(self, items: Sequence[WorkItem]) -> None:
        """Makes items available to workers.

        An item whose id was published before, because a list names it twice or a manager scanned twice, may be
        delivered again but never counts again, neither in ``scan.items`` of a status nor in a tally. A status shows
        this count of items in place of the one that ``record_scan`` was given.
        """

    @abstractmethod
    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        """Leases up to ``most`` items, oldest first; an empty list: there is nothing to do now. Does not wait.

        If jobs of several priorities have items, ``model.Turns`` decides how many are taken of each: most of the more
        urgent ones, and always a share of the others. ``least`` restricts the choice to items of at least that
        priority, and ``job_id`` to those of that job; a broker whose queue can't choose raises ``BrokerError`` if it is
        given.

        Items of cancelled or failed jobs are dropped, and those of paused jobs are left or handed back; if the queue
        can't tell, the worker checks ``state``. An item with ``max_deliveries`` failed deliveries goes to poison
        instead of being returned; one that can't be parsed goes there at once.
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
        """Returns when there may be a job or an item to claim: after ``seconds``, or sooner if the broker can tell.

        Only for callers with nothing else to do, because it may occupy a connection. It never fails, and may be
        cancelled.
        """
        await asyncio.sleep(seconds)

    @abstractmethod
    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        """Renews the lease. Raises ``LeaseLost`` if another worker may have the item by now."""

    @abstractmethod
    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        """Writes the receipts and the worker's tally of each job in one atomic step per job, then releases the items.

        Returns for each result whether it was counted; False: another worker has counted the item, or the lease was
        lost. Either may be returned if this worker counted it in an earlier call whose answer was lost. After an
        exception, a caller may call again with the same arguments: nothing is counted twice.
        """

    @abstractmethod
    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        """Hands an item back. It can be claimed again after ``delay_seconds``. A lost lease is not an error.

        With a ``reason``, this counts as a failed delivery; after ``max_deliveries`` of them the item goes to poison,
        where its files count as failed, and True is returned. An empty reason (pause, shutdown, eviction) does not
        count. What has been read of the item (``WorkItem.came`` in the lease) is kept for its next delivery, if there
        is room for it.
        """

    @abstractmethod
    async def backlog(self) -> Backlog:
        """The amount of work of all jobs."""
