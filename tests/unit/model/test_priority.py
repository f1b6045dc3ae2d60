"""Whose turn it is: the urgent have most turns, and nobody is left out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage
from cachewarmer.model import BY_RANK, Priority, Turns, WarmJob, WorkItem
from cachewarmer.model.priority import TURNS

sizes = st.lists(st.integers(0, 30), min_size=3, max_size=3)


@given(sizes, st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_nothing_waits_while_there_is_room_and_nobody_waits_longer_than_a_round(waiting, claims):
    """Whatever is claimed at once, a priority with something left gets its turns of each whole round."""
    turns, left, got = Turns(), [list(range(count)) for count in waiting], []
    for most in claims:
        chosen = turns.choose([[(rank, one) for one in there] for rank, there in enumerate(left)], most)
        assert len(chosen) == min(most, sum(map(len, left)))
        for rank, one in chosen:
            assert left[rank].pop(0) == one  # the oldest of its priority
        turns.taken(len(chosen))
        got += [rank for rank, _ in chosen]
    for rank, there in enumerate(left):
        if there:  # it waited all the time
            assert Counter(got)[rank] >= TURNS.count(BY_RANK[rank]) * (len(got) // len(TURNS))


def test_the_message_says_a_priority_only_where_it_is_not_normal():
    """So that a job of normal priority is the one that earlier versions write and read."""
    for kind in (WarmJob, WorkItem):
        text = '{"WarmTargetMountAddresses":["a"],"Priority":"high"}'
        assert kind.from_json(text).priority is Priority.HIGH
        assert '"Priority":"high"' in kind.from_json(text).to_json()
        plain = kind.from_json('{"WarmTargetMountAddresses":["a"]}')
        assert plain.priority is Priority.NORMAL
        assert "Priority" not in plain.to_json()


@pytest.mark.parametrize("value", ['"urgent"', '""', "1", '"HIGH"'])
def test_another_priority_is_refused_in_one_line(value):
    with pytest.raises(InvalidMessage, match="Priority") as caught:
        WarmJob.from_json(f'{{"WarmTargetMountAddresses":["a"],"Priority":{value}}}')
    assert "\n" not in str(caught.value)
