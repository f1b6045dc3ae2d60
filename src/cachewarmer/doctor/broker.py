"""Checks a broker: signing in, reading, permissions, active managers and workers, and the time of a call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from cachewarmer.amounts import counted, milliseconds
from cachewarmer.broker.base import MANAGER_SECONDS, Broker, Trial
from cachewarmer.errors import CacheWarmerError, NothingThere
from cachewarmer.findings import Finding, Level, ok, warning

SLOW_SECONDS = 0.5
CLOCK_SECONDS = 30.0


async def look_at_broker(broker: Broker) -> AsyncIterator[Finding]:
    """What there is to say of a broker that is not opened yet, and was made with ``create=False``."""
    try:
        began = time.monotonic()
        await broker.open()
    except NothingThere as error:
        yield Finding(Level.WARNING, "open", error.problem, error.advice or "the first manager or submit makes it")
        return
    except CacheWarmerError as error:
        yield Finding.of("open", error)
        return
    try:
        yield ok("open", f"{broker.shown} ({milliseconds(time.monotonic() - began)} ms)")
        async for found in _look(broker):
            yield found
    finally:
        await broker.close()


async def _look(broker: Broker) -> AsyncIterator[Finding]:
    jobs, found = await _try("jobs", broker.jobs, lambda found: f"{counted(len(found), 'job')} can be read")
    yield found
    _, found = await _try(
        "work",
        broker.backlog,
        lambda backlog: f"items left: {backlog.unsettled_items:,}, of {counted(backlog.active_jobs, 'job')}",
    )
    yield found
    began = time.monotonic()
    seen, found = await _try("managers", broker.manager_seen, lambda seen: f"seen {seen or 0:.0f} s ago")
    seconds = time.monotonic() - began
    waiting = [one for one in jobs or () if not one.state.final]
    if found.level is Level.OK and (seen is None or seen > 3 * MANAGER_SECONDS):
        when = "never" if seen is None else f"{seen:.0f} s ago"
        said = f"one was last seen: {when}"
        found = (
            warning(
                "managers",
                f"{said}; waiting for one: {counted(len(waiting), 'job')}",
                "start cachewarmer manager --broker URL",
            )
            if waiting
            else ok("managers", f"{said}; no job waits for one")
        )
    yield found
    _, found = await _try("workers", broker.workers, lambda workers: f"{len(workers)} at work")
    yield found
    said = f"{milliseconds(seconds)} ms"
    slow = seconds > SLOW_SECONDS
    yield (
        warning("round trip", said, "put the workers and the broker into one region")
        if slow
        else ok("round trip", said)
    )
    for trial in broker.trials():
        yield await _tried(trial)
    for what in broker.untried:
        yield ok(what, "not tried: it would change something")
    yield await _clock(broker)


async def _tried(trial: Trial) -> Finding:
    """Refused is a warning: who only submits, or looks, needs less than a manager does."""
    try:
        await trial.call()
    except CacheWarmerError as error:
        if error.transient:
            return Finding.of(trial.what, error)
        return warning(trial.what, Finding.of(trial.what, error).said, trial.mend)
    return ok(trial.what, trial.allowed)


async def _clock(broker: Broker) -> Finding:
    try:
        ahead = await broker.clock_ahead()
    except CacheWarmerError as error:
        return Finding.of("clock", error)
    if ahead is None:
        return ok("clock", "the broker's is this machine's")
    said = f"the broker's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > CLOCK_SECONDS:
        return warning("clock", said, "check the clocks (NTP): signing in and leases depend on them")
    return ok("clock", said if abs(ahead) >= 0.05 else "the broker's and this machine's agree")


async def _try(check: str, call: Callable[[], Awaitable[Any]], said: Callable[[Any], str]) -> tuple[Any, Finding]:
    try:
        found = await call()
    except CacheWarmerError as error:
        return None, Finding.of(check, error)
    return found, ok(check, said(found))
