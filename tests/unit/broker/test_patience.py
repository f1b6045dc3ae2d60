"""How long a broker that fails is asked again."""

import logging
import math
from types import SimpleNamespace

import pytest

from cachewarmer.broker import patience
from cachewarmer.broker.patience import persist
from cachewarmer.errors import BrokerBusy, BrokerError, BrokerUnavailable
from cachewarmer.outage import OutageLog


class Clock:
    """Time passes only where somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr(patience, "asyncio", SimpleNamespace(sleep=made.sleep))
    return made


def failing_for(clock, seconds, error):
    """A call that fails with ``error`` until so many seconds have passed."""
    until = clock.now + seconds

    async def call():
        if clock.now < until:
            raise error
        return "done"

    return call


async def tried(clock, seconds, error, **limits):
    return await persist(
        failing_for(clock, seconds, error), 60.0, OutageLog(logging.getLogger(__name__), "the broker"), **limits
    )


async def test_a_broker_that_is_away_is_asked_again_for_so_long(clock):
    assert await tried(clock, 50, BrokerUnavailable("away")) == "done"
    with pytest.raises(BrokerUnavailable, match="away"):
        await tried(clock, 100, BrokerUnavailable("away"))


async def test_a_broker_that_others_hold_has_a_limit_of_its_own(clock):
    """Nothing is wrong with it; whereas a disk that is full does not mend itself."""
    assert await tried(clock, 800, BrokerBusy("locked"), busy_seconds=900) == "done"
    assert await tried(clock, 1e6, BrokerBusy("locked"), busy_seconds=math.inf) == "done"
    with pytest.raises(BrokerBusy):
        await tried(clock, 1000, BrokerBusy("locked"), busy_seconds=900)
    with pytest.raises(BrokerBusy):
        await tried(clock, 100, BrokerBusy("locked"))
    with pytest.raises(BrokerUnavailable):
        await tried(clock, 100, BrokerUnavailable("full"), busy_seconds=900)


async def test_what_is_refused_is_not_asked_again(clock):
    began = clock.now
    with pytest.raises(BrokerError):
        await tried(clock, 100, BrokerError("not allowed"), busy_seconds=math.inf)
    assert clock.now == began
