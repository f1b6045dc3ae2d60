"""A job with a name is posted once, as long as it is warm or on its way: whoever asks again is told of that one."""

import asyncio

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.cli import submit
from cachewarmer.cli.options.general import BrokerChoice, Output
from cachewarmer.config import LeaseSettings
from cachewarmer.model import Access, JobState, WarmJob
from cachewarmer.planning.counter import ScanCounter

SETTINGS = LeaseSettings()


def job(name):
    return WarmJob(access=Access(addresses=("cache1",), export="/e"), warm_path="/w", name=name)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'b.db'}"


async def posted(url, name, capsys, *, once=True):
    """The id of the job that was posted, or found."""
    chosen = submit.SubmitOptions(targets=(), broker=BrokerChoice(url=url), output=Output(), once=once)
    assert await submit.post([job(name)], chosen, None, asyncio.Event()) == 0
    return capsys.readouterr().out.strip()


async def set_state(url, job_id, *states):
    async with open_broker(url, SETTINGS) as broker:
        for state in states:
            if state is JobState.COMPLETED:
                await broker.record_scan(job_id, ScanCounter().totals(finished=True))
            await broker.set_state(job_id, state, "")


async def test_one_that_is_on_its_way_is_not_posted_again(url, capsys):
    """Nor is it when it is warm; another name is another job, and without a name each is."""
    first = await posted(url, "a", capsys)
    assert await posted(url, "a", capsys) == first
    assert await posted(url, "b", capsys) != first
    assert await posted(url, "a", capsys, once=False) != first
    assert await posted(url, "", capsys) != await posted(url, "", capsys)


async def test_one_that_did_not_get_warm_is_posted_again(url, capsys):
    """Cancelled or failed, it would never be."""
    first = await posted(url, "a", capsys)
    await set_state(url, first, JobState.CANCELLED)
    second = await posted(url, "a", capsys)
    assert second != first
    await set_state(url, second, JobState.SCANNING, JobState.FAILED)
    assert await posted(url, "a", capsys) not in (first, second)
