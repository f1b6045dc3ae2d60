"""Estimates how many calls at once a cache takes, by a short probe with calls that read nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from cachewarmer.amounts import counted
from cachewarmer.errors import CacheWarmerError
from cachewarmer.findings import Finding, ok, warning
from cachewarmer.targets.base import Canary, Question
from cachewarmer.targets.nfs3.session import Nfs3Session

STEPS = (1, 2, 4, 8, 16, 32)
STEP_SECONDS = 0.25
GROWTH = 1.3
"""A step that doubles the calls in flight and does not bring this much more has found the knee."""
CANARY_TIMES, CANARY_MORE_SECONDS = 2.5, 0.0015
"""Beyond this many times the idle time, and so much more, others wait."""
HELD_SECONDS = 0.001
"""An answer that is quicker than this holds no thread that anybody would wait for: our own CPU is the limit then."""
FEW_CALLS = 16
"""A cache with fewer threads than this is soon full."""


class Step(NamedTuple):
    """What one step measured."""

    calls: int
    per_second: float
    canary_seconds: float


async def find_knee(session: Nfs3Session) -> Finding:
    """Asks with ever more calls in flight (FSSTAT), and stops where more bring nothing or make others wait."""
    before = session.window.calls
    session.set_window(STEPS[-1])
    canary = session.canary()
    try:
        root = (await session.lookup(b"")).handle
        idle = median([await canary.call() for _ in range(8)])
        steps: list[Step] = []
        for calls in STEPS:
            steps.append(await _step(session, canary, root, calls))
            if stops(steps, idle):
                break
        return judged(steps, idle)
    except CacheWarmerError as error:
        return warning("knee", f"the probe was not answered: {error.problem}", "use --window 4 until more is known")
    finally:
        canary.close()
        session.set_window(before)


async def _step(session: Nfs3Session, canary: Canary, root: bytes, calls: int) -> Step:
    end = time.monotonic() + STEP_SECONDS
    done = 0

    async def ask() -> None:
        nonlocal done
        while time.monotonic() < end:
            await session.ask(Question.ORIGIN, b"", root)
            done += 1

    began = time.monotonic()
    asking = asyncio.gather(*(ask() for _ in range(calls)))
    try:
        waits = [await canary.call() for _ in range(4)]
    finally:
        await asking
    return Step(calls, done / (time.monotonic() - began), median(waits))


def stops(steps: Sequence[Step], idle: float) -> bool:
    """Whether more calls would be of no use, or a burden."""
    last = steps[-1]
    if last.canary_seconds > CANARY_TIMES * idle + CANARY_MORE_SECONDS:
        return True
    return len(steps) > 1 and last.per_second < GROWTH * steps[-2].per_second


def judged(steps: Sequence[Step], idle: float) -> Finding:
    """What the steps say."""
    if steps[0].per_second * HELD_SECONDS > 1:
        return ok("knee", "it answers FSSTAT at once, so that no thread is held: the probe tells nothing")
    knee = steps[-2] if stops(steps, idle) and len(steps) > 1 else steps[-1]
    said = f"about {counted(knee.calls, 'call')} at once ({knee.per_second:,.0f} FSSTAT a second)"
    if knee is steps[-1] and not stops(steps, idle):
        return ok("knee", f"{said} and more: it was not reached")
    if knee.calls < FEW_CALLS:
        return warning("knee", said, "more server threads, if other clients wait while it is warmed")
    return ok("knee", said)
