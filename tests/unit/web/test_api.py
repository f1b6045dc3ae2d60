"""The JSON API: the keys of --json, and the truth about the broker."""

import asyncio
import json

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.model import InHand, JobState, Report, WorkerReport

HOSTILE = "a<script>alert(1)</script>\"'\u202e\x1b[2J\x00".replace("\x00", "")


async def submit(site, **more):
    status, said, _ = await site.act("/jobs", {"targets": ["nfs://cache1,cache2/data"], **more})
    assert status == 201
    return said["job"]


async def events(site, job="", until="state"):
    """The first events, until the first of a kind: (kind, content)."""
    found = []
    async with site.session.get(f"{site.base}/api/v1/events", params={"job": job} if job else {}) as answer:
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                found.append((kind, json.loads(line[6:])))
                if kind == until:
                    break
    return found


async def state_that(site, holds):
    """The first state that ``holds``, of one stream: streams that are left in a hurry are counted for a while."""
    async with site.session.get(f"{site.base}/api/v1/events") as answer:
        async for line in answer.content:
            if line.startswith(b"data: ") and holds(state := json.loads(line[6:])):
                return state
    raise AssertionError("the stream has ended")


async def test_a_job_is_submitted_paused_resumed_and_cancelled(site):
    """Each step answers with the job's report."""
    job = await submit(site, name=HOSTILE, include=["*.exr"], max_bandwidth=5_000_000, priority="high")
    document = (await site.ask("GET", f"/api/v1/jobs/{job}"))[1]
    assert (document["state"], document["name"]) == ("queued", HOSTILE)
    assert (document["live"]["max_bandwidth"], document["priority"]) == (5_000_000, "high")
    broker = site.server.feed.broker
    await broker.set_state(job, JobState.SCANNING)
    assert (await site.act(f"/jobs/{job}/pause"))[1]["state"] == "paused"
    assert (await site.act(f"/jobs/{job}/resume"))[1]["state"] == "scanning"
    await broker.set_state(job, JobState.FAILED, "no answer")
    assert (await site.act(f"/jobs/{job}/resume"))[1]["state"] == "scanning"
    assert (await site.act(f"/jobs/{job}/cancel"))[1]["state"] == "cancelled"
    status, said, _ = await site.act(f"/jobs/{job}/pause")
    assert (status, "cancelled" in said["error"]) == (409, True)


async def test_the_keys_are_those_of_the_command_line(site):
    """And the detail has ``live`` beside them."""
    job = await submit(site)
    status = await site.server.feed.broker.status(job)
    keys = set(Report.of_job(status).document())
    assert set((await site.ask("GET", "/api/v1/jobs"))[1]["jobs"][0]) == keys
    assert set((await site.ask("GET", f"/api/v1/jobs/{job}"))[1]) == keys | {"live", "verified"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "targets is missing"),
        ([], "must be a JSON object"),
        ({"targets": []}, "targets must have from 1"),
        ({"targets": "x"}, "targets must be of type array"),
        ({"targets": [1]}, "targets must be of type string"),
        ({"targets": ["nfs://a/b"], "max_bandwidth": -1}, "max_bandwidth must be from 0"),
        ({"targets": ["nfs://a/b"], "max_bandwidth": True}, "of type integer"),
        ({"targets": ["nfs://a/b"], "priority": "urgent"}, "priority must be one of high, normal, low"),
        ({"targets": ["nfs://a/b"], "priority": 1}, "priority must be of type string"),
        ({"targets": ["nfs://a/b"], "colour": 1}, "there is no key 'colour'"),
        ({"targets": ["nfs://a/b"], "include": ["["]}, "["),
        ({"targets": ["nfs://"]}, ""),
        ({"targets": ["some/where"]}, "workers can't read this target"),
        ({"targets": ["nfs://a/\ud800"]}, "no path can hold"),
    ],
)
async def test_a_submission_that_makes_no_sense_is_refused_in_one_line(site, body, said):
    """Nothing is posted."""
    status, answer, _ = await site.act("/jobs", body)
    assert status == 400
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert (await site.ask("GET", "/api/v1/jobs"))[1] == {"jobs": []}


async def test_a_form_of_another_site_can_not_submit(site):
    """It can't send JSON without asking first; what is too long is not read."""
    headers = {"Authorization": f"Bearer {site.token}"}
    assert (await site.ask("POST", "/api/v1/jobs", data={"targets": "x"}, headers=headers))[0] == 415
    long = {**headers, "Content-Type": "application/json"}
    assert (await site.ask("POST", "/api/v1/jobs", data=b" " * 300_000, headers=long))[0] == 413
    assert (await site.ask("POST", "/api/v1/jobs", data=b"[" * 100_000, headers=long))[0] == 400


async def test_a_job_that_is_not_there_is_404(site):
    """Whatever its name."""
    for job in ("j1", "..", "%00", "a%2Fb", "'"):
        assert (await site.ask("GET", f"/api/v1/jobs/{job}"))[0] == 404


async def test_the_detail_counts_what_workers_have_in_hand(site):
    """Waiting, leased, done: together what was published."""
    job = await submit(site)
    broker = site.server.feed.broker
    await broker.set_state(job, JobState.SCANNING)
    await broker.note_worker(
        WorkerReport(worker=HOSTILE, host="h", pid=1, jobs=(InHand(job=job, items=3, files=2, bytes=9),))
    )
    site.server.feed.look_soon()
    found = dict(await events(site, job, until="job"))["job"]
    assert (found["files"], found["bytes"]) == (2, 9)
    assert found["live"]["workers"][0]["at_work"]
    assert "\x1b" not in found["live"]["workers"][0]["worker"]


async def test_no_name_ends_a_line_of_the_stream(site):
    """Control characters, quotes and surrogates arrive as they were."""
    name = 'x\n\nevent: state\ndata: {}\r\u2028"'
    job = await submit(site, name=name)
    found = dict(await events(site, job, until="job"))
    assert found["job"]["name"] == name


class Fickle:
    """A broker that goes away and comes back."""

    def __init__(self, inner):
        self.inner = inner
        self.away = False

    def __getattr__(self, name):
        value = getattr(self.inner, name)
        if not callable(value) or name == "close":
            return value

        async def call(*arguments, **more):
            if self.away:
                raise BrokerUnavailable("connection refused", address="db.example")
            return await value(*arguments, **more)

        return call


async def test_an_outage_is_told_and_ends(site_of, tmp_path):
    """The stream goes on, says since when, and shows what was known; calls answer 503."""
    broker = Fickle(open_broker(f"sqlite:///{tmp_path}/x.db", Settings().lease))
    async with site_of(broker=broker) as site:
        job = await submit(site)
        await state_that(site, lambda state: state["jobs"])
        broker.away = True
        site.server.feed.look_soon()
        state = await state_that(site, lambda state: state["broker"]["problem"] == "db.example: connection refused")
        assert state["broker"]["away"]
        assert [one["job"] for one in state["jobs"]] == [job]
        assert (await site.ask("GET", f"/api/v1/jobs/{job}"))[0] == 503
        assert (await site.act(f"/jobs/{job}/cancel"))[0] == 503
        broker.away = False
        site.server.feed.look_soon()
        await state_that(site, lambda state: not state["broker"]["away"])
        assert (await site.act(f"/jobs/{job}/cancel"))[0] == 200


async def test_one_look_serves_all_who_watch(site):
    """Twenty pages ask the broker no more than one does."""
    broker, looks = site.server.feed.broker, []
    jobs = broker.jobs

    async def counted():
        looks.append(1)
        return await jobs()

    broker.jobs = counted
    found = await asyncio.gather(*(events(site) for _ in range(20)))
    assert len(found) == 20
    assert len(looks) <= 3
