"""What ``export`` writes of a job."""

import json

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.cli.commands import run
from cachewarmer.cli.export import document
from cachewarmer.model import Access, JobState, JobStatus, ScanTotals, Tally, WarmJob

JOB = WarmJob(job_id="j7", name="shot42", access=Access(addresses=("cache1",)), warm_path="/p\udcff")


def test_the_document_holds_the_job_its_times_its_report_and_the_sum_of_each_worker():
    """The job can be read back from it, and the workers add up to the report."""
    tallies = (Tally(worker="w1", items=1, files=2, bytes=30), Tally(worker="w2", items=1, files=1, bytes=5))
    scan = ScanTotals(directories=1, files=3, bytes=35, items=2, finished=True)
    status = JobStatus(
        job=JOB, state=JobState.COMPLETED, scan=scan, tallies=tallies, submitted_at=1.0, started_at=2.0, finished_at=5.0
    )
    written = json.loads(json.dumps(document(status)))
    assert WarmJob.from_json(json.dumps(written["job"])) == JOB
    assert (written["submitted_at"], written["started_at"], written["finished_at"]) == (1.0, 2.0, 5.0)
    assert written["report"]["state"] == "completed"
    assert sum(worker["files"] for worker in written["workers"]) == written["report"]["files"] == 3
    assert sum(worker["bytes"] for worker in written["workers"]) == written["report"]["bytes"] == 35
    assert written["cachewarmer_export"] == 1


async def _submitted(path):
    async with SqliteBroker(path) as broker:
        await broker.submit(JOB)


def test_the_command_writes_one_document_and_names_a_job_that_is_not_there(tmp_path, capsys):
    """A job in whatever state is exported; the exit code is that of the writing, not of the job."""
    import asyncio

    path = str(tmp_path / "b.db")
    asyncio.run(_submitted(path))
    assert run(["export", "j7", "--broker", f"sqlite:///{path}"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["report"]["state"] == "queued"
    assert written["workers"] == []
    assert run(["export", "j8", "--broker", f"sqlite:///{path}"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "j8" in said.err
