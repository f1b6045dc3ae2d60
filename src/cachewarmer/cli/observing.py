"""Serves and writes metrics while a command runs: ``--metrics`` and ``--metrics-file``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker
from cachewarmer.broker.counted import CallCounts
from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.options.observing import Observing
from cachewarmer.errors import BrokerError, UsageError

if TYPE_CHECKING:
    from cachewarmer.config import Settings
    from cachewarmer.model import JobStatus, WorkerReport
    from cachewarmer.web.feed import Feed
    from cachewarmer.web.metrics import Seen


def stats_seconds(chosen: Observing, settings: Settings) -> float:
    """Seconds between two lines of statistics of a service: from the options, else from the settings; 0: no lines."""
    seconds = settings.log.stats_seconds if chosen.stats is None else chosen.stats
    return max(1.0, seconds) if seconds else 0.0


FILE_SECONDS = 15.0
"""Time between two versions of the file, for a scrape of node_exporter every 15 seconds."""


@asynccontextmanager
async def metrics_served(chosen: Observing, seen: Callable[[], Seen]) -> AsyncIterator[None]:
    """Serves metrics while the block runs, if that was asked for.

    Raises:
        UsageError: they can't be served at this address, or a package is missing.
    """
    if not chosen.metrics:
        if chosen.token_file:
            raise UsageError("--metrics-token-file needs --metrics")
        yield
        return
    _need("--metrics", "aiohttp")
    from cachewarmer.cli.page import token_of
    from cachewarmer.web.address import HttpSettings
    from cachewarmer.web.scraped import MetricsServer

    token = token_of("--metrics-token-file", chosen.token_file)
    http = HttpSettings.of(chosen.metrics, token=token, option="--metrics")
    async with MetricsServer(http, seen) as server:
        _say(f"metrics are at {server.url}")
        yield


@asynccontextmanager
async def fed(feed: Callable[[], Feed], *, wanted: bool) -> AsyncIterator[Feed | None]:
    """Runs a feed, which looks at the broker, while the block runs; None if it is not ``wanted``."""
    if not wanted:
        yield None
        return
    _need("--metrics", "aiohttp")
    from cachewarmer.eventloop import end_tasks

    made = feed()
    looking = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await made.end()
        await end_tasks(looking)


@asynccontextmanager
async def metrics_written(path: str, seen: Callable[[], Awaitable[Seen]]) -> AsyncIterator[None]:
    """Writes metrics to ``path`` every ``FILE_SECONDS`` while the block runs, and at its end; an empty path: nowhere.

    Raises:
        UsageError: the file can't be written, or a package is missing.
    """
    if not path:
        yield
        return
    _need("--metrics-file", "prometheus_client")
    from cachewarmer.eventloop import end_tasks
    from cachewarmer.web.metrics import exposition

    try:
        replace_file(path, exposition(await seen()))
    except OSError as error:
        raise UsageError(f"--metrics-file {path}: {error.strerror or error}") from error

    async def again() -> None:
        while True:
            await asyncio.sleep(FILE_SECONDS)
            _try_to_replace(path, exposition(await seen()))

    writing = asyncio.create_task(again())
    try:
        yield
    finally:
        await end_tasks(writing)
        _try_to_replace(path, exposition(await seen()))


class JobMetrics:
    """The metrics and statistics of the jobs of ``warm``. Call it with every status."""

    def __init__(self, broker_url: str, account: BrokerChoice, settings: Settings) -> None:
        self.calls = CallCounts()
        self._broker_url = broker_url
        self._account = account
        self._settings = settings
        self._statuses: dict[str, JobStatus] = {}

    def __call__(self, status: JobStatus) -> None:
        self._statuses[status.job.job_id] = status

    @asynccontextmanager
    async def told(self, seconds: float | None) -> AsyncIterator[None]:
        """Logs a line of statistics at this interval, in seconds, while the block runs; None or 0: never."""
        if not seconds:
            yield
            return
        from cachewarmer.cli.stats import Look, look_at, stats_told

        async def look() -> Look:
            statuses = [*self._statuses.values()]
            return look_at(await self._workers(broker, statuses), statuses)

        async with self._looking() as broker, stats_told(seconds, look):
            yield

    @asynccontextmanager
    async def written(self, path: str) -> AsyncIterator[None]:
        """Writes the metrics file while the block runs, if ``path`` is not empty."""
        if not path:
            yield
            return
        async with self._looking() as broker, metrics_written(path, lambda: self._seen(broker)):
            yield

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[Broker]:
        """A broker to query, not opened yet: until the first job is submitted, there may be nothing at its place."""
        broker = open_broker(
            self._broker_url,
            self._settings.lease,
            storage_key=self._account.storage_key,
            resource_group=self._account.resource_group,
        )
        try:
            yield broker
        finally:
            await broker.close()

    async def _workers(self, broker: Broker, statuses: Sequence[JobStatus]) -> list[WorkerReport]:
        """The rows of the readers of unfinished jobs."""
        await broker.open()
        jobs = [one.job.job_id for one in statuses if not one.state.final]
        return [worker for job_id in jobs for worker in await broker.workers(job_id)]

    async def _seen(self, broker: Broker) -> Seen:
        from cachewarmer.web.metrics import Seen

        statuses = [*self._statuses.values()]
        workers: list[WorkerReport] = []
        away = False
        try:
            workers = await self._workers(broker, statuses)
        except BrokerError:
            away = True
        return Seen(
            away=away,
            statuses=statuses,
            workers=workers,
            results=[one for one in statuses if one.state.final],
            calls=self.calls,
        )


def replace_file(path: str, content: bytes) -> None:
    """Replaces the content of a file in one step: readers see the old content or the new, never a part.

    The file is readable by everyone, because node_exporter runs as another user. The name of the temporary file does
    not end in ``.prom``, so that node_exporter ignores it.
    """
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(beside, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _try_to_replace(path: str, content: bytes) -> None:
    import logging

    try:
        replace_file(path, content)
    except OSError as error:
        logging.getLogger(__name__).warning("--metrics-file %s: %s", path, error.strerror or error)


def _need(option: str, package: str) -> None:
    from importlib.util import find_spec

    for name in ("prometheus_client", package):
        if find_spec(name) is None:
            raise UsageError(f"{option} needs the package {name}", advice="pip install 'cachewarmer[web]'")


def _say(text: str) -> None:
    import logging

    logging.getLogger(__name__).info("%s", text)
