"""The names of the queues, the table and the rows of the Azure broker. Pure.

Queues: ``<prefix>job``, ``<prefix>work``, ``<prefix>poison``, and of jobs and work one more for each other priority:
``<prefix>jobhi``, ``<prefix>joblo``, ``<prefix>workhi``, ``<prefix>worklo``; the table: ``<prefix>status`` without what a table name
can't hold. Rows: the records of all jobs of a prefix share one partition, so that listing them is one query; what
belongs to one scan of a job has a partition of its own, in which ``t-…`` are tallies ``r-…`` receipts and ``l-…`` pieces of the ledger; ``f-…`` in the
first one's is the job's file list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from cachewarmer.errors import UsageError
from cachewarmer.model import Priority

LONGEST_QUEUE_NAME = 63
"""Maximum length of a queue's name (REST reference, Naming Queues and Metadata)."""
KINDS = ("job", "work", "poison")
BEHIND: Mapping[Priority, str] = {Priority.HIGH: "hi", Priority.NORMAL: "", Priority.LOW: "lo"}
"""What stands behind the kind: with it, none is longer than the longest kind, so that each prefix remains good."""
FIRST_GENERATION_JOB = "firstgen"
"""The job that work items without ``JobId`` are counted in."""


class JobScan(NamedTuple):
    """One scan of a job, whose items are counted together: when a manager begins again, so does the count."""

    job_id: str
    number: int = 0


def check_prefix(prefix: str) -> str:
    """The prefix, if Azure takes the queue names made with it.

    Raises:
        UsageError: with the rule (REST reference, Naming Queues and Metadata).
    """
    most = LONGEST_QUEUE_NAME - max(len(kind) for kind in KINDS)
    if not re.fullmatch(r"[a-z0-9](?:-?[a-z0-9])*-?", prefix, re.ASCII) or len(prefix) > most:
        raise UsageError(
            f"queue name prefix {prefix!r}: 1 to {most} lower-case letters, digits and single hyphens, beginning with a "
            f"letter or digit (a queue's name has 3 to {LONGEST_QUEUE_NAME} of them)"
        )
    return prefix


def queue_name(prefix: str, kind: str, priority: Priority = Priority.NORMAL) -> str:
    """The queue of a kind, ``job``, ``work`` or ``poison``, and of a priority."""
    return prefix + kind + BEHIND[priority]


def table_name(prefix: str) -> str:
    """Letters and digits only, beginning with a letter (REST reference, Understanding the Table Service Data Model)."""
    name = "".join(letter for letter in prefix if letter.isalnum()) + "status"
    return name if name[0].isalpha() else "t" + name


def records_partition(prefix: str) -> str:
    """The partition of the job records of a prefix."""
    return f"{prefix}.jobs"


def scan_partition(prefix: str, scan: JobScan) -> str:
    """The partition of the tallies and receipts of a scan; that of the first scan also has the file list of the job."""
    return f"{prefix}.job.{scan.job_id}" + (f".{scan.number}" if scan.number else "")


def tally_row(worker: str, nonce: str) -> str:
    """One row a worker process: a restarted worker of the same name has another nonce."""
    return f"t-{hashlib.blake2b(worker.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}-{nonce}"


def receipt_row(item_id: str) -> str:
    """The row that exists once an item is settled, as receipt or as poison."""
    return f"r-{item_id}"


def piece_row(key: str) -> str:
    """The row of a piece of a job's ledger."""
    return f"l-{key}"


def job_id_of_message(message_id: str) -> str:
    """The job id of a message that has none: always the same for the same message."""
    return "m" + re.sub(r"[^0-9A-Za-z]", "", message_id)[:63]


def is_key(text: str) -> bool:
    """Whether a foreign id can be a row key as it is."""
    return re.fullmatch(r"[0-9A-Za-z-]{1,64}", text, re.ASCII) is not None
