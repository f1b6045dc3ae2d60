"""What a service says when it starts and when it is told to stop, as whoever operates it reads it."""

import json
import logging
import signal
import subprocess
import sys

import pytest

from cachewarmer import __version__
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.cli.starting import JobLog, say_start
from cachewarmer.config import LeaseSettings, Settings
from cachewarmer.model import Access, JobState, JobStatus, Tally, WarmJob


@pytest.mark.parametrize(("role", "more"), [("worker", []), ("manager", ["--fleet", "local", "--workers", "3"])])
def test_a_service_says_who_it_is_and_why_it_stops(tmp_path, role, more):
    """In every line of JSON by its name; first the version, the broker and its role, at last the reason of its end."""
    broker = f"sqlite:///{tmp_path}/jobs.db"
    command = [sys.executable, "-m", "cachewarmer", role, "--broker", broker, "--name", "it", *more]
    file = tmp_path / "log"
    with subprocess.Popen(
        [*command, "--log-format", "json", "--log-file", str(file)], stderr=subprocess.PIPE
    ) as running:
        try:
            while not (file.exists() and "waiting for" in file.read_text()):
                assert running.poll() is None, running.stderr.read()
                with pytest.raises(subprocess.TimeoutExpired):
                    running.wait(0.05)
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
            assert running.stderr.read() == b""
        finally:
            running.kill()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line[role] for line in lines} == {"it"}
    assert (lines[0]["version"], lines[0]["broker"]) == (__version__, broker)
    said = [line["message"] for line in lines]
    assert said[0].startswith(f"cachewarmer {__version__} starts: {role} it on ")
    assert ("; fleet local of at most 3 workers" in said[0]) is (role == "manager")
    assert "SIGTERM: stopping" in said
    assert any(text.startswith("stopped: it was asked to; ") for text in said)


def test_a_job_of_warm_begins_and_ends_in_the_log(caplog):
    """Once each, however often its status is looked at."""
    caplog.set_level(logging.INFO, "cachewarmer")
    job = WarmJob(job_id="j1", access=Access(addresses=("cache1",), export="/projects"))
    course = JobLog()
    for files in (0, 5):
        course(JobStatus(job=job, state=JobState.WARMING, tallies=(Tally(worker="w", files=files),)))
    tally = Tally(worker="w", files=9, bytes=2048, failed_files=1)
    state = JobState.COMPLETED_WITH_ERRORS
    course.end(JobStatus(job=job, state=state, tallies=(tally,), started_at=10.0, finished_at=12.5))
    assert caplog.messages == [
        f"cachewarmer {__version__}: job j1: cache1:/projects",
        "job j1 is completed_with_errors: 9 files, 2.0 KiB, 1 file failed in 2.5 s",
    ]


def test_a_password_in_the_broker_is_not_told(caplog):
    """Neither in the text nor in a part of it."""
    caplog.set_level(logging.INFO, "cachewarmer")
    broker = PostgresBroker("postgresql://warm:geheim@db.example/jobs", LeaseSettings())
    say_start("worker w", broker, Settings())
    (record,) = caplog.records
    assert "geheim" not in f"{record.message} {record.__dict__}"
    assert "db.example" in record.message
