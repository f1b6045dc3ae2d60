"""What earlier versions stored and posted is still read: samples of it, as they were written."""

from __future__ import annotations

import json

from cachewarmer.broker.azure.receipts import Sums
from cachewarmer.broker.azure.tables import JobRecord
from cachewarmer.model import JobState, WarmJob, WorkItem

JOB = (
    '{"WarmTargetMountAddresses":["10.0.1.7"],"WarmTargetExportPath":"/data","WarmTargetPath":"/tools",'
    '"InclusionList":["*.so"],"ExclusionList":[],"MaxFileSizeBytes":0,"JobId":"j1"}'
)
ITEM = (
    '{"WarmTargetMountAddresses":["10.0.1.7"],"WarmTargetExportPath":"/data","WarmTargetPath":"/tools",'
    '"StartByte":-1,"StopByte":-1,"ApplyFilter":false,"StartFileFilter":"","EndFileFilter":"",'
    '"InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0,"JobId":"j1","Files":[["a",5,"AAEC"],["b",7,""]]}'
)


class Row(dict):
    """A row as the table service gives it."""

    metadata = {"etag": "e1"}  # noqa: RUF012  # as the library has it


def test_a_job_and_an_item_without_the_newer_keys():
    """What is missing has its default."""
    job, item = WarmJob.from_json(JOB), WorkItem.from_json(ITEM)
    assert (job.job_id, job.warm_path, job.wanted.include, job.max_bandwidth) == ("j1", "/tools", ("*.so",), 0)
    assert [(one.path, one.size) for one in item.files] == [("a", 5), ("b", 7)]
    assert (item.scan, item.failed_deliveries, item.address) == (0, 0, "")


def test_the_record_of_a_job_without_the_newer_columns():
    """Neither those of the row, nor those of its scan's totals."""
    row = Row(
        PartitionKey="p.jobs",
        RowKey="j1",
        Job=JOB.encode(),
        State="warming",
        Reason="",
        SubmittedAt=1.0,
        StartedAt=2.0,
        FinishedAt=0.0,
        Scan=b'{"items":2,"files":3,"bytes":12,"directories":1,"errors":[["/x","no"]],"finished":true}',
        MessageId="m1",
        ScanNumber=0,
        Tidied=False,
    )
    found = JobRecord.read(row)
    assert (found.state, found.scan.items, found.scan.failed_directories) == (JobState.WARMING, 2, 0)
    assert (found.handed_back, found.begun_again, found.reposted) == (0, False, False)
    assert found.scan.errors[0].path == "/x"


def test_the_tally_of_a_worker_that_counts_less():
    """Counts that it does not know are 0."""
    counts = {"items": 2, "files": 3, "bytes": 12, "poisoned_items": 0, "poisoned_files": 0}
    row = Row(
        PartitionKey="p.job.j1",
        RowKey="t-w-1",
        Worker="w",
        Counts=json.dumps(counts),
        Errors=b'[["/x","no"]]',
        Slowest=b"[]",
        PoisonErrors=b"[]",
    )
    tally = Sums.read(row).tally
    assert (tally.items, tally.files, tally.changed_files) == (2, 3, 0)
    assert tally.errors[0].error == "no"
