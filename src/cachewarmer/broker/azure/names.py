"""The names of the queues, the table and the rows of the Azure broker. Pure.

Queues: ``<prefix>job``, ``<prefix>work``, ``<prefix>poison``; for jobs and work of other priorities also
``<prefix>jobhi``, ``<prefix>joblo``, ``<prefix>workhi`` and ``<prefix>worklo``. Table: ``<prefix>status``, without the
characters that a table name can't have.

Rows: the records of all jobs of a prefix share one partition, so that listing them is one query. Each scan of a job has
a partition of its own, with tallies in the rows ``t-…``, receipts in ``r-…``, and pieces of the ledger in ``l-…``. The
partition of the first scan also has the file list of the job, in ``f-…``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from cachewarmer.errors import UsageError
from cachewarmer.model import Priority

LONGEST_QUEUE_NAME = 63
"""Maximum length of the name of a queue (REST reference, Naming Queues and Metadata)."""
KINDS = ("job", "work", "poison")
BEHIND: Mapping[Priority, str] = {Priority.HIGH: "hi", Priority.NORMAL: "", Priority.LOW: "lo"}
"""The suffix of a queue's name for each priority; no name with it is longer than that of the poison queue."""
FIRST_GENERATION_JOB = "firstgen"
"""The id of the job in which work items without ``JobId`` are counted."""


class JobScan(NamedTuple):
    """A scan of a job, whose items are counted together. When a manager scans again, the count starts again."""

    job_id: str
    number: int = 0


def check_prefix(prefix: str) -> str:
    """Returns the prefix if Azure accepts the queue names made with it.

    Raises:
        UsageError: it does not; the error states the rule (REST reference, Naming Queues and Metadata).
    """
    most = LONGEST_QUEUE_NAME - max(len(kind) for kind in KINDS)
    if not re.fullmatch(r"[a-z0-9](?:-?[a-z0-9])*-?", prefix, re.ASCII) or len(prefix) > most:
        raise UsageError(
            f"queue name prefix {prefix!r}: 1 to {most} lower-case letters, digits and single hyphens, beginning with a "
            f"letter or digit (a queue's name has 3 to {LONGEST_QUEUE_NAME} of them)"
        )
    return prefix


def queue_name(prefix: str, kind: str, priority: Priority = Priority.NORMAL) -> str:
    """The name of the queue of a kind (``job``, ``work`` or ``poison``) and a priority."""
    return prefix + kind + BEHIND[priority]


def table_name(prefix: str) -> str:
    """The name of the table: letters and digits, beginning with a letter.

    REST reference: Understanding the Table Service Data Model.
    """
    name = "".join(letter for letter in prefix if letter.isalnum()) + "status"
    return name if name[0].isalpha() else "t" + name


def records_partition(prefix: str) -> str:
    """The partition of the job records of a prefix."""
    return f"{prefix}.jobs"


def scan_partition(prefix: str, scan: JobScan) -> str:
    """The partition of the tallies and receipts of a scan; that of the first scan also has the file list of the job."""
    return f"{prefix}.job.{scan.job_id}" + (f".{scan.number}" if scan.number else "")


def tally_row(worker: str, nonce: str) -> str:
    """The row of the tally of a worker process; a restarted worker of the same name has another nonce."""
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
    """Whether an id that another program made can be used as a row key unchanged."""
    return re.fullmatch(r"[0-9A-Za-z-]{1,64}", text, re.ASCII) is not None
