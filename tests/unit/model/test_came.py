"""What had come of an item that was handed back, in its message."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage
from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.model.came import Came, numbers_in, ranges_in, without
from cachewarmer.model.parts import Part

FILES = (FileEntry("a", 10), FileEntry("b", 0), FileEntry("c", 100), FileEntry("d", 5))


def item(**more):
    return WorkItem(access=Access(addresses=("a",)), path="/d", job_id="j", files=FILES, **more)


def test_it_is_read_as_it_was_written_and_is_not_part_of_the_id():
    came = Came(((0, 2), (3, 4)), (Part(2, 0, 30), Part(2, 60, 100)), 7)
    text = item(came=came).to_json()
    assert WorkItem.from_json(text).came == came
    assert WorkItem.from_json(text).content_id == item().content_id
    rest = {key: value for key, value in json.loads(text).items() if not key.startswith("Came")}
    assert rest == json.loads(item().to_json()), "nothing else changes for a program that does not know these keys"


def test_an_item_of_which_nothing_has_come_has_none_of_the_keys():
    assert "Came" not in item().to_json()
    assert "Came" not in item(came=Came(calls=3)).to_json()


@pytest.mark.parametrize(
    "keys",
    [
        {"CameFiles": [[0, 5]]},
        {"CameFiles": [[-1, 2]]},
        {"CameFiles": [[1, 1]]},
        {"CameFiles": [[0, 2], [1, 3]]},
        {"CameFiles": [[0]]},
        {"CameFiles": [[0, True]]},
        {"CameFiles": [0, 1]},
        {"CameFiles": {}},
        {"CameFiles": [[0, 1]] * 200_000},
        {"CameRanges": [[2, 0, 101]]},
        {"CameRanges": [[2, 0, 50], [2, 40, 60]]},
        {"CameRanges": [[4, 0, 1]]},
        {"CameCalls": -1},
        {"CameCalls": 1 << 60},
        {"CameCalls": "many"},
    ],
    ids=lambda keys: str(keys)[:40],
)
def test_nonsense_is_refused(keys):
    with pytest.raises(InvalidMessage, match=next(iter(keys))):
        WorkItem.from_json(json.dumps({**json.loads(item().to_json()), **keys}))


@given(st.sets(st.integers(0, 40)))
def test_numbers_as_ranges_and_back(numbers):
    found = ranges_in(sorted(numbers))
    assert set(numbers_in(found)) == numbers
    assert all(one[1] < other[0] for one, other in pairwise(found))


range_of = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda two: (min(two), max(two)))


@given(range_of, st.lists(range_of))
def test_a_range_without_others(wanted, others):
    found = without(wanted, others)
    if wanted[0] == wanted[1]:
        assert found == [wanted]
        return
    left = set(range(*wanted)) - {number for one in others for number in range(*one)}
    assert [number for one in found for number in range(*one)] == sorted(left)
