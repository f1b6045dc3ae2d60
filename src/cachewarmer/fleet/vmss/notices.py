"""Eviction notices: an event of the metadata service announces an eviction to a Spot VM about 30 s before it.

REST reference: "Scheduled Events for Linux VMs". Azure recommends polling once a second for ``Preempt``. Each VM of a
scale set receives the events of all of them, so only those that name this VM count. Acknowledging an event permits
Azure to start it at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from cachewarmer.azure.metadata import Imds, Schedule, ScheduledEvent
from cachewarmer.config import state_directory
from cachewarmer.errors import ConfigError, FleetError

log = logging.getLogger(__name__)

ENDINGS = frozenset({"Preempt", "Terminate"})
"""Events after which the VM is gone; it survives a Freeze, a Reboot or a Redeploy."""
POLL_SECONDS = 1.0
MOST_POLL_SECONDS = 30.0
"""Maximum wait between polls that fail."""
ACKNOWLEDGE_SECONDS = 5.0


def ending(schedule: Schedule, name: str) -> list[ScheduledEvent]:
    """The events of a schedule that end the VM ``name``."""
    own = name.casefold()
    return [
        event
        for event in schedule.events
        if event.event_type in ENDINGS and own in (resource.casefold() for resource in event.resources)
    ]


@asynccontextmanager
async def eviction_notices(
    evict: Callable[[], None], *, imds: Imds | None = None, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[None]:
    """Calls ``evict`` once if an eviction of this VM is announced while the body runs; acknowledges it after the body.

    Without a metadata service, nothing is watched. The body is never delayed, and never fails because of it.
    """
    watch = _Watch(imds or Imds(), poll_seconds)
    task = asyncio.create_task(watch.run(evict))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await watch.finish()


class _Watch:
    def __init__(self, imds: Imds, poll_seconds: float) -> None:
        self._imds = imds
        self._poll_seconds = poll_seconds
        self._presence: _Presence | None = None
        self._noticed: list[str] = []

    async def run(self, evict: Callable[[], None]) -> None:
        try:
            name = (await self._imds.instance()).name
            log.info("watching for eviction notices as %s", name)
        except (FleetError, ImportError) as error:
            log.debug("no eviction notices: %s", error)
            return
        self._presence = _Presence()
        wait = self._poll_seconds
        while True:
            try:
                events = ending(await self._imds.scheduled_events(), name)
                wait = self._poll_seconds
            except FleetError as error:
                wait = min(MOST_POLL_SECONDS, wait * 2)
                log.warning("asking for eviction notices: %s; trying again in %.0f s", error, wait)
                events = []
            if events:
                what = ", ".join(f"{event.event_type} not before {event.not_before or 'now'}" for event in events)
                log.warning("this VM is about to be evicted (%s): handing back all work", what)
                self._noticed = [event.event_id for event in events]
                evict()
                return
            await asyncio.sleep(wait)

    async def finish(self) -> None:
        """Acknowledges the eviction, unless another worker on this VM still has work to hand back."""
        try:
            alone = self._presence is None or self._presence.is_last()
            if alone and self._noticed:
                log.info("all work is handed back: acknowledging the eviction")  # this may be the last line logged
                async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                    await self._imds.acknowledge(self._noticed)
        except (FleetError, TimeoutError) as error:
            log.warning(
                "acknowledging the eviction: %s; it will happen anyway when the time is up", error or "no answer"
            )
        finally:
            await self._imds.close()


class _Presence:
    """Lets the workers of one VM find out which is the last: each holds a shared lock on a file."""

    def __init__(self) -> None:
        self._file: int | None = None
        from cachewarmer.broker.sqlite.files import make_folder

        with suppress(OSError, ConfigError):
            folder = state_directory()
            make_folder(str(folder))
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(folder / "workers.lock", flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Gives up the lock; returns whether no other worker holds it. True also if there could be no lock."""
        file, self._file = self._file, None
        if file is None:
            return True
        try:
            # Unlocked first, so that two workers that leave at the same moment do not each see the other.
            fcntl.flock(file, fcntl.LOCK_UN)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True
