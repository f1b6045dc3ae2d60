"""Places that are given out in order, to functions and to tasks alike."""

import asyncio

import pytest

from cachewarmer.planning.room import Room


def test_who_asks_first_enters_first_and_nobody_enters_a_full_room():
    room, entered = Room(2), []
    for name in "abcd":
        room.enter(lambda name=name: entered.append(name))
    assert entered == ["a", "b"]
    room.leave()
    assert entered == ["a", "b", "c"]
    room.leave()
    room.leave()
    room.enter(lambda: entered.append("e"))
    assert entered == ["a", "b", "c", "d", "e"]


def test_any_number_may_leave_at_once_when_they_are_admitted():
    room, entered = Room(1), []

    def enter_and_leave():
        entered.append(1)
        room.leave()

    room.enter(lambda: None)
    for _ in range(5000):
        room.enter(enter_and_leave)
    room.leave()
    assert len(entered) == 5000


async def test_a_task_that_is_cancelled_while_it_waits_or_is_admitted_takes_no_place():
    room = Room(1)

    async def stay():
        async with room:
            await asyncio.Event().wait()

    first, second, third = (asyncio.create_task(stay()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()  # admits the third, which is cancelled at the same moment
    await asyncio.sleep(0)
    third.cancel()
    for task in (first, second, third):
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(1), room:
        pass
