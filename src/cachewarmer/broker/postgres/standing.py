"""What the transactions of this broker share: the row and status of a job, its state changes, and poisoned items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from cachewarmer.broker import record, rows
from cachewarmer.broker.postgres.database import Row, Transaction
from cachewarmer.broker.sound import sound
from cachewarmer.errors import DamagedRecord, UnknownJob
from cachewarmer.model import JobState, JobStatus, Tally, check_transition
from cachewarmer.model.outcomes import item_key, pack_poison


async def locked(sql: Transaction, job_id: str) -> Row:
    """The row of a job with the time ``now``, locked until the transaction ends. Raises ``UnknownJob``."""
    return the_job(job_id, await sql.all("job_locked", job_id=job_id))


def the_job(job_id: str, found: Sequence[Row]) -> Row:
    """The only row in ``found``. Raises ``UnknownJob`` if there is none."""
    if not found:
        raise UnknownJob(f"there is no job {job_id}")
    return found[0]


async def read_status(sql: Transaction, job_id: str) -> JobStatus:
    """The status of a job. Takes one round trip outside of a transaction. Raises ``UnknownJob``, ``DamagedRecord``."""
    job, tallies = await sql.together("job", "tallies", job_id=job_id)
    return status_of(the_job(job_id, job), tallies)


def status_of(row: Row, tallies: Iterable[Row]) -> JobStatus:
    """The status of a job with these rows. Raises ``DamagedRecord``."""
    with record.reading_row(f"job {row['job_id']}"):
        return rows.status(row, [load_tally(one["tally"]) for one in tallies])


def readable(damaged: record.DamagedRows, found: Iterable[Row], tallies: Iterable[Row]) -> list[tuple[Row, JobStatus]]:
    """The jobs that can be read, with their status; damaged ones are logged once and skipped."""
    by_job: dict[str, list[Row]] = {}
    for one in tallies:
        by_job.setdefault(one["job_id"], []).append(one)
    sensible = []
    for row in found:
        try:
            sensible.append((row, status_of(row, by_job.get(row["job_id"], ()))))
        except DamagedRecord as error:
            damaged.name(error)
    return sensible


async def set_state(sql: Transaction, row: Row, state: JobState, reason: str) -> None:
    """Moves a job to another state. ``row`` is of ``locked``, or any that locks the job and has ``now``."""
    before = rows.standing(row)
    if check_transition(row["job_id"], before.state, state):
        await put_standing(sql, row["job_id"], before.moved_to(state, reason, row["now"]))


async def put_standing(sql: Transaction, job_id: str, standing: record.Standing) -> None:
    """Writes the standing of a job."""
    await sql.run("set_state", **rows.stands(job_id, standing))


async def settle_job(sql: Transaction, job_id: str, token: str) -> None:
    """Removes a job from the queue; without a token, whoever has leased it."""
    row = await sql.one("settle_job", job_id=job_id, token=token)
    if row is not None and JobState(row["state"]) in rows.KEEP_NOTHING:
        await sql.run("forget_items", job_id=job_id)
        await sql.run("drop_chunks", job_id=job_id)


async def finish_if_settled(sql: Transaction, job_id: str) -> None:
    """Sets the final state when the last item is settled, so that no manager is needed for it."""
    counts = await sql.one("settled_count", job_id=job_id)
    if counts is not None and counts["settled"]:
        row = await locked(sql, job_id)
        status = status_of(row, await sql.all("tallies", job_id=job_id))
        await set_state(sql, row, status.state, "")


def load_tally(text: str) -> Tally:
    """Parses a tally. Call it in ``record.reading_row``, which translates the errors of a damaged row."""
    values: dict[str, Any] = json.loads(text)
    known = {one.name for one in fields(Tally)}
    values = {name: value for name, value in values.items() if name in known}
    values["errors"] = record.load_errors(values["errors"])
    values["slowest"] = record.load_slowest(values["slowest"])
    return sound(Tally(**values))


async def add_pieces(sql: Transaction, job_id: str, pieces: Iterable[tuple[str, bytes]]) -> None:
    """Stores pieces of a ledger in the order of their keys, so that two workers never deadlock."""
    last = sorted(dict(pieces).items())
    if last:
        keys, values = zip(*last, strict=True)
        await sql.run("add_pieces", job_id=job_id, keys=list(keys), pieces=list(values))


async def poison(sql: Transaction, row: Row, poisoned: rows.Poisoned) -> None:
    """Gives up an item for good, unless it has been settled in the meantime."""
    poisoned = poisoned._replace(reason=record.printable(poisoned.reason))
    ids = {"job_id": row["job_id"], "item_id": row["item_id"]}
    job = await locked(sql, row["job_id"])
    if not await sql.count("poison_item", seq=row["seq"], reason=poisoned.reason):
        return
    await sql.run("add_poison", reason=poisoned.reason, message=row["message"], **ids)
    if poisoned.item.ledger:
        piece = pack_poison(row["message"], poisoned.reason)
        await add_pieces(sql, row["job_id"], [(item_key(poisoned.item), piece)])
    await sql.run("count_poison", **rows.poison_counts(job, poisoned))
    await finish_if_settled(sql, row["job_id"])
