"""The readers of a job on one machine: a worker in this process, or several, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cachewarmer import eventloop
from cachewarmer.about import about
from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, CacheWarmerError, OwnResourceError, ProgramChanged
from cachewarmer.model import Tally, WorkerReport
from cachewarmer.outage import OutageLog
from cachewarmer.targets import open_session
from cachewarmer.targets.breaker import Failures, Outage
from cachewarmer.targets.pool import SessionPool
from cachewarmer.values import dataclass
from cachewarmer.warming import steered
from cachewarmer.worker.share import Shares, shares, with_share
from cachewarmer.worker.worker import Worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

log = logging.getLogger(__name__)

STATUS_SECONDS = 0.25
"""Time between two checks of a job, and between two reports of a reader process."""
STOP_SECONDS = 0.7
"""Reader processes are killed if they have not ended within twice this time after they were told to stop."""
MAX_RESTARTS = 3
"""How many reader processes that died are replaced before the job is given up."""


class Readers(Protocol):
    """The interface to the readers of a job on one machine."""

    async def run(self, stop: asyncio.Event) -> None:
        """Reads until ``stop`` is set. Raises ``CacheWarmerError`` if the reading can't continue."""

    def on_scanning(self, going_on: bool) -> None:
        """Call this when a scan begins (True) and when it has ended (False): a scan takes a share of the window."""

    def in_hand(self) -> Sequence[Tally]:
        """What each reader has read of items that have no receipt yet."""

    def outages(self) -> Sequence[Outage]:
        """The addresses that do not answer."""

    def failures(self) -> Sequence[Failures]:
        """The failures of addresses so far, for each process."""

    def reports(self) -> Sequence[WorkerReport]:
        """The current report of each reader."""


class ReaderHere:
    """One worker in this process. It shares the session pool with the scan, and so the window."""

    def __init__(self, worker: Worker, pool: SessionPool) -> None:
        self._worker = worker
        self._pool = pool

    async def run(self, stop: asyncio.Event) -> None:
        await self._worker.run(stop)

    def on_scanning(self, going_on: bool) -> None:
        pass

    def in_hand(self) -> Sequence[Tally]:
        return (self._worker.in_hand(),)

    def outages(self) -> Sequence[Outage]:
        return self._pool.outages()

    def failures(self) -> Sequence[Failures]:
        return (self._pool.failures(),)

    def reports(self) -> Sequence[WorkerReport]:
        return (self._worker.report(),)


class Word(NamedTuple):
    """What a reader process sends to its parent several times a second."""

    in_hand: Tally
    outages: tuple[Outage, ...]
    failures: Failures
    report: WorkerReport


@dataclass(eq=False)
class _Reader:
    """One reader process as its parent sees it."""

    process: SpawnProcess
    channel: Connection
    calls: int
    """The share of the window that it was last told."""
    word: Word | None = None


@dataclass
class _Told:
    """The outages that have been logged, by address."""

    logs: dict[str, OutageLog] = field(default_factory=dict)

    def tell(self, outages: Sequence[Outage]) -> None:
        for outage in outages:
            if outage.address not in self.logs:
                self.logs[outage.address] = OutageLog(log, outage.address, about=about(address=outage.address))
            self.logs[outage.address].failed(outage.problem)
        away = {outage.address for outage in outages}
        for address, told in self.logs.items():
            if address not in away:
                told.answered()


class ReaderProcesses:
    """Several reader processes. Processes that die are replaced a few times.

    ``pool`` is the session pool of this process, which scans. The window is divided between the reader processes and
    the scan. Outages that the processes notice are logged here, once for all of them. Each process first calls
    ``prepare``, which can set up logging.
    """

    def __init__(
        self,
        broker_url: str,
        settings: Settings,
        job_id: str,
        count: int,
        pool: SessionPool,
        prepare: Callable[[], None] | None,
    ) -> None:
        self._broker_url = broker_url
        self._settings = settings
        self._job_id = job_id
        self._count = count
        self._pool = pool
        self._prepare = prepare
        self._scanning = True
        self._deaths = 0
        self._readers: list[_Reader] = []
        self._told = _Told()
        import multiprocessing  # needed only here: not if there is a single reader

        self._context = multiprocessing.get_context("spawn")

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps the processes running until ``stop`` is set.

        Raises:
            CacheWarmerError: the processes keep ending.
            OwnResourceError: this machine can't start them.
        """
        try:
            while not stop.is_set():
                self._bury()
                while len(self._readers) < self._count:
                    self._start()
                self._listen()
                self._share_window()
                self._told.tell(self.outages())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), STATUS_SECONDS)
        finally:
            await self._end()

    def _bury(self) -> None:
        """Removes the processes that have ended. Raises ``CacheWarmerError`` after too many."""
        dead = [one for one in self._readers if not one.process.is_alive()]
        for one in dead:
            self._readers.remove(one)
            one.channel.close()
            self._deaths += 1
            log.warning("a reader process ended with %s", one.process.exitcode)
            if self._deaths > MAX_RESTARTS:
                raise CacheWarmerError(f"the reader processes keep failing (last: {one.process.exitcode})")

    def _start(self) -> None:
        calls = self._shares().readers[len(self._readers)]
        settings = with_share(self._settings, calls, self._count)
        try:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_reader_process,
                args=(self._broker_url, settings, self._job_id, self._count, theirs, self._prepare),
            )
            with _unheard_signals():
                process.start()
        except (OSError, MemoryError, RuntimeError) as error:
            raise OwnResourceError(
                f"this machine can't start a reader process: {error or type(error).__name__}"
            ) from error
        theirs.close()
        self._readers.append(_Reader(process, ours, calls))

    def _listen(self) -> None:
        for reader in self._readers:
            with contextlib.suppress(EOFError, OSError):  # it has just died: the next round takes care of that
                while reader.channel.poll():
                    reader.word = reader.channel.recv()

    def _shares(self) -> Shares:
        return shares(self._settings.nfs.most_calls, self._count, scanning=self._scanning)

    def _share_window(self) -> None:
        """Sends each process its share of the window if it has changed."""
        for reader, calls in zip(self._readers, self._shares().readers, strict=True):
            if calls != reader.calls:
                with contextlib.suppress(OSError):
                    reader.channel.send(calls)
                    reader.calls = calls

    def on_scanning(self, going_on: bool) -> None:
        self._scanning = going_on
        self._pool.set_window(self._shares().scan)

    def in_hand(self) -> Sequence[Tally]:
        return [reader.word.in_hand for reader in self._readers if reader.word is not None]

    def outages(self) -> Sequence[Outage]:
        """The outages of all processes and of the scan: for each address, the one that was noticed first."""
        found = list(self._pool.outages())
        for reader in self._readers:
            found += reader.word.outages if reader.word is not None else ()
        first: dict[str, Outage] = {}
        for outage in sorted(found, key=lambda one: one.since):
            first.setdefault(outage.address, outage)
        return tuple(first.values())

    def failures(self) -> Sequence[Failures]:
        return [self._pool.failures(), *(reader.word.failures for reader in self._readers if reader.word is not None)]

    def reports(self) -> Sequence[WorkerReport]:
        return [reader.word.report for reader in self._readers if reader.word is not None]

    async def _end(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.channel.close()
        deadline = time.monotonic() + 2 * STOP_SECONDS
        while any(reader.process.is_alive() for reader in readers) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for reader in readers:
            reader.process.kill()
            reader.process.join()


@contextlib.contextmanager
def _unheard_signals() -> Iterator[None]:
    """Blocks SIGINT and SIGHUP for processes that are started meanwhile: a terminal sends them to the whole group.

    These processes end with their parent, and an interrupt while Python starts would show a traceback.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else the first process would start it, and that unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in a reader process -------------------------------------------------------------------------------------------


def _reader_process(
    broker_url: str,
    settings: Settings,
    job_id: str,
    count: int,
    channel: Connection,
    prepare: Callable[[], None] | None,
) -> None:
    """The main function of a reader process, which works until the parent closes its end of the channel or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare()
    with contextlib.suppress(BrokerError, ProgramChanged, KeyboardInterrupt):
        eventloop.run(_read_until_closed(broker_url, settings, job_id, count, channel))


async def _read_until_closed(broker_url: str, settings: Settings, job_id: str, count: int, channel: Connection) -> None:
    stop = asyncio.Event()
    async with (
        open_broker(broker_url, settings.lease) as broker,
        SessionPool(settings, open_session, announce=False) as pool,
        steered(pool),
    ):

        def hear() -> None:
            try:
                pool.set_window(channel.recv())
            except (EOFError, OSError):
                asyncio.get_running_loop().remove_reader(channel.fileno())
                stop.set()

        asyncio.get_running_loop().add_reader(channel.fileno(), hear)
        worker = Worker(broker, settings, pool, job_id=job_id, sharers=count)
        telling = asyncio.create_task(_tell(worker, pool, channel))
        try:
            await worker.run(stop)
        finally:
            await eventloop.end_tasks(telling)


async def _tell(worker: Worker, pool: SessionPool, channel: Connection) -> None:
    """Reports to the parent until the parent is gone."""
    with contextlib.suppress(OSError):
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            channel.send(Word(worker.in_hand(), pool.outages(), pool.failures(), worker.report()))
