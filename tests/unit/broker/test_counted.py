"""The calls of a process to its broker are counted, whatever kind it is."""

import inspect

import pytest

from cachewarmer.broker.base import Broker
from cachewarmer.broker.counted import CallCounts, counted
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.errors import BrokerUnavailable, UnknownJob
from cachewarmer.model import Access, WarmJob


class Away(SqliteBroker):
    async def jobs(self):
        raise BrokerUnavailable("away")


class Clock:
    """Each look is a quarter of a second after the last."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.25
        return self.now


async def test_calls_errors_and_seconds_are_counted_by_operation(tmp_path):
    """What the broker says no to is an answer; what it does not do is an error."""
    calls = CallCounts()
    async with counted(Away(f"{tmp_path}/b.db"), calls, Clock()) as broker:
        job_id = await broker.submit(WarmJob(access=Access(addresses=("a",)), warm_path="/x"))
        assert (await broker.status(job_id)).job.warm_path == "/x"
        with pytest.raises(UnknownJob):
            await broker.status("nobody")
        with pytest.raises(BrokerUnavailable):
            await broker.jobs()
        assert [chunk async for chunk in broker.file_list(job_id)] == []
    found = {name: (one.calls, one.errors) for name, one in calls.operations.items()}
    assert found == {"open": (1, 0), "submit": (1, 0), "status": (2, 0), "jobs": (1, 1)}
    assert calls.operations["status"].seconds == 0.5
    assert sum(calls.operations["status"].buckets) == 2


def test_every_method_of_the_contract_reaches_the_broker(tmp_path):
    """Those with a body in the contract as well: a broker may have a better one."""
    broker = counted(SqliteBroker(f"{tmp_path}/b.db"), CallCounts())
    for name, made in vars(Broker).items():
        if inspect.isfunction(made) and not name.startswith("_"):
            assert getattr(type(broker), name) is not made, name
    assert broker.is_private
    assert broker.url == f"sqlite:///{tmp_path}/b.db"
    assert broker.path == f"{tmp_path}/b.db"
