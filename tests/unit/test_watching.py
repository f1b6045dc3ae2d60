"""When rounds of a watch begin, and that there is one at a time."""

import asyncio
import itertools
import time

import pytest

from cachewarmer import watching
from cachewarmer.target import make_job, parse_target
from cachewarmer.watching import Busy, alone, next_start, watch


@pytest.mark.parametrize(
    ("now", "expected"),
    [(100.0, 110.0), (105.0, 110.0), (109.9, 110.0), (110.0, 120.0), (137.0, 140.0), (99.0, 110.0)],
)
def test_missed_rounds_are_left_out(now, expected):
    """Rounds keep to their times; one that took long skips those that were due meanwhile."""
    assert next_start(100.0, 10.0, now) == expected


async def test_a_target_has_one_watch(tmp_path, monkeypatch):
    """At one broker; another target, or another broker, is free. What ended leaves no lock."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = (make_job(parse_target(f"cache1:/{name}")) for name in "ab")
    async with alone(one, "sqlite:///x"):
        with pytest.raises(Busy, match="another process is watching cache1:/a"):
            async with alone(one, "sqlite:///x"):
                pass
        async with alone(other, "sqlite:///x"), alone(one, "sqlite:///y"):
            pass
    async with alone(one, "sqlite:///x"):
        pass


async def test_a_round_that_takes_long_is_followed_by_one(monkeypatch):
    """However many were due meanwhile, and only when the next one is due."""
    every, began, late = 0.05, time.monotonic(), 0.0
    stop = asyncio.Event()
    starts = []

    def clock():
        return time.monotonic() - began + late

    async def round_of(*_):
        nonlocal late
        starts.append(clock() / every)
        late += 2.5 * every
        await asyncio.sleep(0)
        if len(starts) == 4:
            stop.set()

    monkeypatch.setattr(watching, "one_round", round_of)
    job = make_job(parse_target("cache1:/a"))
    await watch(None, job, None, every, lambda _: None, stop, clock)
    assert len(starts) == 4
    assert all(later - earlier >= 2.5 for earlier, later in itertools.pairwise(starts))
    assert all(start - starts[0] >= 3 * number - 0.1 for number, start in enumerate(starts))
