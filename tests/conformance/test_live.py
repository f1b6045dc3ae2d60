"""What every broker promises about the rows that workers write of themselves."""

from __future__ import annotations

import logging

from cachewarmer.model import AddressReport, InHand, Learnt, WorkerReport


def row(name="w1", *, pid=1, job="j1", **values) -> WorkerReport:
    jobs = (InHand(job=job, items=1, files=2, bytes=3),)
    addresses = (AddressReport(address="10.0.1.7", calls=5, latencies=((20, 5),)),)
    return WorkerReport(**{"worker": name, "host": "h", "pid": pid, "jobs": jobs, "addresses": addresses, **values})


def said(reports):
    return [(one.worker, one.pid) for one in reports]


async def test_what_a_worker_says_is_seen_by_others(lab):
    """Whole, with its age; what it says later takes the place of that."""
    one, two = await lab.broker(), await lab.broker()
    assert await one.workers() == []
    await one.note_worker(row())
    (seen,) = await two.workers()
    assert (seen.worker, seen.jobs, seen.addresses) == ("w1", row().jobs, row().addresses)
    await lab.advance(3)
    (older,) = await two.workers()
    assert older.seen_seconds > 1.9, "by a clock that may count whole seconds only"
    await one.note_worker(row(ended=True))
    (seen,) = await two.workers()
    assert seen.ended
    assert seen.seen_seconds < older.seen_seconds


async def test_each_worker_has_a_row(lab):
    """By its name and process; a job's are those that have had an item of it."""
    broker = await lab.broker()
    for report in (row("w2", job="j2"), row("w1", pid=2), row("w1", pid=1), row("w \udcff", job="j3")):
        await broker.note_worker(report)
    assert said(await broker.workers("j1")) == [("w1", 1), ("w1", 2)]
    assert said(await broker.workers("j2")) == [("w2", 1)]
    assert await broker.workers("j9") == []
    assert len(await broker.workers()) == 4
    assert len(await broker.workers("j3")) == 1


async def test_a_workers_clock_does_not_matter(lab, monkeypatch):
    """Ages are by the broker's clock: one that is a year ahead writes a row as old as any other's."""
    broker = await lab.broker()
    if lab.name != "sqlite":  # whose clock is the machine's, which all its workers share
        import time

        real = time.time()
        monkeypatch.setattr(time, "time", lambda: real + 3.2e7)
    await broker.note_worker(row())
    monkeypatch.undo()
    (seen,) = await broker.workers()
    assert 0 <= seen.seen_seconds < 10


async def test_a_row_that_makes_no_sense_is_passed_over(lab, caplog):
    """The others are seen, and it is named once."""
    broker = await lab.broker()
    await broker.note_worker(row())
    await broker.note_worker(row("w2"))
    await lab.damage_worker(row("w2"))
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        assert said(await broker.workers()) == [("w1", 1)]
    assert len([one for one in caplog.messages if "damaged" in one]) == 1


async def test_rows_of_workers_that_are_gone_are_forgotten(lab, monkeypatch):
    """After some minutes: not shown any more, and dropped by whoever tidies up."""
    broker = await lab.broker()
    await broker.note_worker(row("old"))
    await lab.age_workers(monkeypatch)
    await broker.note_worker(row("new"))
    assert said(await broker.workers()) == [("new", 1)]
    await broker.tidy(10**9)
    assert said(await broker.workers()) == [("new", 1)]
    assert await lab.worker_rows() == 1


async def test_what_was_learnt_about_an_address_is_there_for_who_comes_later(lab):
    """From workers at work, of whatever job, and from one that has ended: half of the window that they found."""
    one, two = await lab.broker(), await lab.broker()
    assert Learnt.of(await two.workers()).first_windows() == {}
    cache, other = AddressReport(address="10.0.1.7", knee=40), AddressReport(address="10.0.1.8", knee=0)
    await one.note_worker(row(ended=True, jobs=(), addresses=(cache, other)))
    assert Learnt.of(await two.workers()).first_windows() == {"10.0.1.7": 20}, "though nobody is at work any more"
    await one.note_worker(row("w2", job="j2", addresses=(AddressReport(address="10.0.1.7", knee=100),)))
    assert Learnt.of(await two.workers()).first_windows() == {"10.0.1.7": 50}
