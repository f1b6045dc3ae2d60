"""What the parts of the program exchange: jobs and work items in one direction, receipts and status in the other."""

from __future__ import annotations

from cachewarmer.model.access import MAX_ADDRESSES, Access, Transport, check_address
from cachewarmer.model.bandwidth import Bandwidth, Hours
from cachewarmer.model.bound import Bound, BoundTimes, Verdict
from cachewarmer.model.jobs import (
    TRANSITIONS,
    JobState,
    WarmJob,
    WorkItem,
    check_job_id,
    check_transition,
    item_id,
    new_job_id,
)
from cachewarmer.model.learnt import Learnt, LearntAddress, Lessons
from cachewarmer.model.live import AddressReport, InHand, WorkerReport, verdict, with_in_hand
from cachewarmer.model.priority import BY_RANK, Priority, Turns
from cachewarmer.model.report import TOO_SHORT, Report, size_histogram
from cachewarmer.model.results import (
    ERROR_SAMPLE,
    SLOWEST_SAMPLE,
    TALLY_COUNTS,
    JobStatus,
    PathError,
    Receipt,
    ScanTotals,
    SlowPath,
    Tally,
    split_tally_name,
    tally_name,
)
from cachewarmer.model.wanted import FIRST_GENERATION, Wanted
from cachewarmer.wire import MAX_MESSAGE_BYTES, FileEntry

__all__ = [
    "BY_RANK",
    "ERROR_SAMPLE",
    "FIRST_GENERATION",
    "MAX_ADDRESSES",
    "MAX_MESSAGE_BYTES",
    "SLOWEST_SAMPLE",
    "TALLY_COUNTS",
    "TOO_SHORT",
    "TRANSITIONS",
    "Access",
    "AddressReport",
    "Bandwidth",
    "Bound",
    "BoundTimes",
    "FileEntry",
    "Hours",
    "InHand",
    "JobState",
    "JobStatus",
    "Learnt",
    "LearntAddress",
    "Lessons",
    "PathError",
    "Priority",
    "Receipt",
    "Report",
    "ScanTotals",
    "SlowPath",
    "Tally",
    "Transport",
    "Turns",
    "Verdict",
    "Wanted",
    "WarmJob",
    "WorkItem",
    "WorkerReport",
    "check_address",
    "check_job_id",
    "check_transition",
    "item_id",
    "new_job_id",
    "size_histogram",
    "split_tally_name",
    "tally_name",
    "verdict",
    "with_in_hand",
]
