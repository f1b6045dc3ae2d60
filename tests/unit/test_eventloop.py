"""Ending tasks."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from cachewarmer import eventloop


async def test_a_task_that_lost_its_cancellation_is_cancelled_again(monkeypatch):
    """As a library loses it that gets what it waits for at the same moment."""
    monkeypatch.setattr(eventloop, "CANCEL_AGAIN_SECONDS", 0.01)
    lost = 0

    async def deaf():
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await eventloop.end_tasks(task)
    assert task.cancelled()
    assert lost == 2


async def test_tasks_end_in_whatever_way():
    async def fails():
        raise ValueError

    done, waits = asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(3600))
    await asyncio.wait([done])
    await eventloop.end_tasks(done, waits)
    assert waits.cancelled()
    with pytest.raises(ValueError):  # noqa: PT011  # the very one
        done.result()


async def test_whoever_waits_for_the_end_may_be_cancelled():
    """The tasks have ended by then all the same."""
    cleaned = asyncio.Event()

    async def cleans():
        try:
            await asyncio.sleep(3600)
        finally:
            await cleaned.wait()

    task = asyncio.create_task(cleans())
    await asyncio.sleep(0)
    ending = asyncio.create_task(eventloop.end_tasks(task))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.done()


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_calls_of_less_than_a_millisecond_are_told_apart(library):
    """On uvloop too, whose own clock has whole milliseconds; both clocks have the same beginning."""
    loop = pytest.importorskip(library).new_event_loop()
    try:
        clock = eventloop.exact_clock(loop)
        assert any(clock() * 1000 % 1 for _ in range(100))
        assert abs(clock() - loop.time()) < 600
    finally:
        loop.close()


@pytest.mark.parametrize("waits", [False, True])
async def test_what_has_ended_is_forgotten_at_once(waits):
    """Not only at the next search for cycles: a scan ends a batch of listings at a time, each with thousands of entries."""

    class Page(list):
        pass

    async def lists(page):
        if waits:
            await asyncio.sleep(3600)
        return page

    page = Page()
    held = weakref.ref(page)
    task = asyncio.create_task(lists(page))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.disable()
    try:
        await eventloop.end_tasks(task)
        del task, page
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()
