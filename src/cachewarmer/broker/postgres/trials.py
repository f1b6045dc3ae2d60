"""Tests the permissions of a user by running each component's statements for a job that does not exist.

The server checks the permissions for a statement whether it finds a row or not. All is rolled back, so that nobody else
ever sees what is inserted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from cachewarmer.broker.base import Trial
from cachewarmer.broker.postgres.database import Database
from cachewarmer.broker.postgres.streams import CHUNK_TYPES

LEASE = {"token": "", "seconds": 0.0}
STATE = {"state": "queued", "reason": "", "started_at": 0.0, "finished_at": 0.0}
CHUNKS = "copy_chunks"
FAR_SECONDS = 1e10
"""An age in seconds that nothing in the tables reaches."""

Statements = Sequence[tuple[str, dict[str, Any]]]

SUBMITS: Statements = (
    ("drop_chunks", {}),
    (CHUNKS, {}),
    ("add_job", {"message": "{}", "state": "queued", "submitted_at": 0.0, "priority": 0}),
    ("job_locked", {}),
    ("set_state", STATE),
)
"""The statements to submit, pause, resume and cancel jobs."""

MANAGES: Statements = (
    ("note_manager", {"name": ""}),
    ("take_fleet", {"fleet": "", "manager": "", "seconds": 0.0}),
    ("free_jobs", {"least": 0, "turn": 0}),
    ("lease_job", LEASE),
    ("set_state", STATE),
    ("set_scan", {"scan": "", "finished": False}),
    ("add_items", {"item_ids": "", "messages": ""}),
    ("count_published", {"count": 0}),
    ("add_pieces", {"keys": [""], "pieces": [b""]}),
    ("drop_scanned", {"part": ""}),
    ("keep_learnt", {"learnt": ""}),
    ("settle_job", {"token": "-"}),
    ("forget_items", {}),
    ("drop_chunks", {}),
    ("old_managers", {"seconds": FAR_SECONDS}),
    ("old_workers", {"seconds": FAR_SECONDS}),
    *((name, {}) for name in ("drop_items", "drop_tallies", "drop_poison", "drop_ledger", "drop_job")),
)
"""The statements of a manager: it leases a job, publishes its items, settles it, and forgets old jobs."""

WORKS: Statements = (
    ("note_worker", {"report": "{}"}),
    ("claim", {"least": 0, "most": 1, "turns": [0, 0, 0], **LEASE}),
    ("renew_item", LEASE),
    ("tally", {}),
    ("put_tally", {"items": 0, "tally": "{}"}),
    ("settle_items", {"job_ids": [], "item_ids": [], "tokens": []}),
    ("add_pieces", {"keys": [""], "pieces": [b""]}),
    ("settled_count", {}),
    ("hand_back", {"delay": 0.0, "forgiven": 0, "reason": "", "message": "", "token": ""}),
    ("held_item", {"token": ""}),
    ("poison_item", {"seq": -1, "reason": ""}),
    ("add_poison", {"reason": "", "message": ""}),
    ("count_poison", {"files": 0, "errors": "[]"}),
)
"""The statements of a worker: it claims, renews, completes, hands back and gives up items."""


def trials(database: Database) -> Sequence[Trial]:
    """A trial for each component. The error of a refusal names the table."""
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {database.schema} TO the user gives it"
    return tuple(
        Trial(what, f"{who} may do what it does there", f"{who} needs it: {grant}", partial(_try, database, statements))
        for what, who, statements in (
            ("submitting", "who submits", SUBMITS),
            ("managing", "a manager", MANAGES),
            ("working", "a worker", WORKS),
        )
    )


async def _try(database: Database, statements: Statements) -> None:
    name = f"doctor-{secrets.token_hex(8)}"
    ids = {"job_id": name, "item_id": name, "worker": name, "key": name}
    async with database.rolled_back() as sql:
        for statement, values in statements:
            if statement == CHUNKS:
                await sql.copy_in(CHUNKS, CHUNK_TYPES, [(name, 0, b"")])
            else:
                await sql.run(statement, **{**ids, **values})
