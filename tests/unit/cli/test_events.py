"""Events as JSON Lines: what is written when, and what happens when it can't be."""

import io
import json

import pytest

from cachewarmer.cli.events import EventFile, Events, events_to
from cachewarmer.errors import UsageError
from cachewarmer.model import Access, JobState, JobStatus, ScanTotals, Tally, WarmJob
from cachewarmer.targets.breaker import Outage

JOB = WarmJob(job_id="j1", access=Access(addresses=("a",)))
SCAN = ScanTotals(files=10, bytes=1000, finished=True)


def status(state=JobState.WARMING, files=0, size=0):
    return JobStatus(job=JOB, state=state, scan=SCAN, tallies=(Tally(worker="w", files=files, bytes=size),))


@pytest.fixture
def recorded():
    lines, now = [], [100.0]
    events = Events(lines.append, lambda: now[0])

    def taken():
        found = [json.loads(line) for line in lines]
        assert all(line.endswith("\n") for line in lines)
        lines.clear()
        return found

    return events, now, taken


def test_a_job_from_its_start_to_its_end(recorded):
    """States as they change, numbers as they do, and the report once."""
    events, now, taken = recorded
    events(status(), workers=2)
    state, progress = taken()
    assert state == {"version": 1, "event": "state", "time": 100.0, "job": "j1", "state": "warming", "before": None}
    assert (progress["event"], progress["workers"], progress["eta_seconds"]) == ("progress", 2, None)
    now[0] = 105.0
    events(status(files=5, size=500), workers=2)
    (progress,) = taken()
    assert (progress["files"], progress["bytes"], progress["scanned_files"]) == (5, 500, 10)
    assert (progress["files_per_second"], progress["bytes_per_second"], progress["eta_seconds"]) == (1.0, 100.0, 5.0)
    over = status(JobState.COMPLETED, files=10, size=1000)
    for _ in range(2):
        events(over)
        events.end(over)
    state, end = taken()
    assert (state["state"], state["before"]) == ("completed", "warming")
    assert (end["event"], end["report"]["files"]) == ("end", 10)


def test_what_does_not_change_is_not_repeated(recorded):
    events, _, taken = recorded
    events(status())
    taken()
    for _ in range(3):
        events(status())
    assert taken() == []


def test_outages_and_warnings_are_told_when_they_begin_and_end(recorded):
    events, _, taken = recorded
    events(status())
    taken()
    for outages in ([Outage("a", 1.0, "refused")], [Outage("a", 1.0, "refused")], []):
        events.outages(outages)
    assert [(one["event"], one["address"]) for one in taken()] == [("outage", "a"), ("answered", "a")]
    for text in ("no manager", "no manager", "", "no manager"):
        events.warn(text)
    assert [one["text"] for one in taken()] == ["no manager"] * 2


def test_a_full_disk_fails_no_job(capsys):
    """It is said once; whoever has closed the pipe has seen enough, and hears nothing."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    write = EventFile(Full())
    write("x")
    write("x")
    assert capsys.readouterr().err == "events can't be written any more: No space left on device\n"

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    EventFile(Gone())("x")
    assert capsys.readouterr().err == ""


def test_a_file_that_can_not_be_made_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="No such file"), events_to(str(tmp_path / "no/events")):
        pass
    with events_to(str(tmp_path / "events")) as events:
        events(status())
    assert len((tmp_path / "events").read_text().splitlines()) == 2
    with events_to("") as events:
        events(status())
