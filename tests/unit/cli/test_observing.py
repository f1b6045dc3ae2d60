"""``--metrics`` and ``--metrics-file``."""

import os
import stat

import aiohttp
import pytest

from cachewarmer.cli.observing import metrics_served, metrics_written, replace_file
from cachewarmer.cli.options.observing import Observing
from cachewarmer.errors import UsageError
from cachewarmer.model import AddressReport, InHand, JobState, JobStatus, WarmJob, WorkerReport
from cachewarmer.web.address import HttpSettings
from cachewarmer.web.metrics import Seen
from cachewarmer.web.scraped import MetricsServer

TOKEN = "a-token-that-nobody-guesses"
ROW = WorkerReport(
    worker="w1",
    host="h",
    pid=1,
    jobs=(InHand(job="j1", items=3, files=2, settled_files=5),),
    addresses=(AddressReport(address="10.0.0.1", window=8, waiting=4),),
)


def read(path):
    with open(path) as file:
        return file.read()


async def asked(server, token=TOKEN, path="/metrics", **headers):
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_a_worker_tells_of_itself_and_of_no_job():
    """It does not look at the jobs of its broker; a broker that is away hides nothing of it."""
    seen = Seen(away=True, workers=[ROW], has_jobs=False)
    async with MetricsServer(HttpSettings.of("127.0.0.1:0"), lambda: seen) as server:
        status, text = await asked(server, token="")
    assert status == 200
    assert "cachewarmer_broker_up 0.0" in text
    assert 'cachewarmer_held_items{worker="w1/h/1"} 3.0' in text
    assert 'cachewarmer_worker_read_files_total{worker="w1/h/1"} 7.0' in text
    assert 'cachewarmer_waiting_calls{address="10.0.0.1",worker="w1/h/1"} 4.0' in text
    assert "cachewarmer_jobs" not in text


async def test_only_who_may_scrape_does():
    """Without a token a page of a stranger is refused by its host name; with one, the token alone decides."""
    async with MetricsServer(HttpSettings.of("127.0.0.1:0", option="--metrics"), Seen) as server:
        status, said = await asked(server, token="", Host="evil.example")
        assert status == 421
        assert "--metrics-token-file" in said
        assert "--http-host" not in said
        assert (await asked(server, token="", path="/api/v1/jobs"))[0] == 404
    async with MetricsServer(HttpSettings.of("127.0.0.1:0", token=TOKEN), Seen) as server:
        assert (await asked(server, token=""))[0] == 401
        assert (await asked(server, Host="worker7.example"))[0] == 200


async def test_an_address_that_others_reach_needs_a_token():
    """The message names the options of metrics."""
    with pytest.raises(UsageError, match="--metrics-token-file"):
        async with metrics_served(Observing(metrics="0.0.0.0:0"), Seen):
            pass
    with pytest.raises(UsageError, match="--metrics takes ADDRESS:PORT"):
        async with metrics_served(Observing(metrics="9750"), Seen):
            pass


async def test_the_file_ends_with_what_came_of_the_job(tmp_path):
    """It is there from the start, and holds the result at the end; nothing else is left beside it."""
    path = f"{tmp_path}/warm.prom"
    job = WarmJob(job_id="j1", name='a"b\n')
    seen = [Seen(statuses=[JobStatus(job=job, state=JobState.WARMING)])]

    async def look():
        return seen[-1]

    async with metrics_written(path, look):
        first = read(path)
        over = JobStatus(job=job, state=JobState.COMPLETED, started_at=100.0, finished_at=160.0)
        seen.append(Seen(statuses=[over], results=[over]))
    last = read(path)
    assert 'state="warming"} 1.0' in first
    assert "cachewarmer_job_success" not in first
    assert 'cachewarmer_job_success{job_id="j1",name="a\\"b\\n"} 1.0' in last
    assert 'cachewarmer_job_seconds{job_id="j1",name="a\\"b\\n"} 60.0' in last
    assert os.listdir(tmp_path) == ["warm.prom"]


def test_a_file_is_replaced_in_one_step(tmp_path):
    """Who has it open keeps the old one; others may read the new one. What can't be written leaves nothing."""
    path = tmp_path / "m.prom"
    replace_file(str(path), b"old")
    with open(path) as reader:
        replace_file(str(path), b"new")
        assert reader.read() == "old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(str(tmp_path / "d"), b"x")
    assert sorted(os.listdir(tmp_path)) == ["d", "m.prom"]
