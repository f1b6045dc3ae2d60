"""What of an item is left after it was handed back."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.model.came import NOTHING_CAME
from cachewarmer.model.parts import parts_of_ends
from cachewarmer.warming.rest import Piece, rest, wanted, what_came


@st.composite
def items(draw):
    """Items of every kind that names its files: whole ones, ends of them, and the range of one."""
    files = tuple(FileEntry(f"f{n}", size) for n, size in enumerate(draw(st.lists(st.integers(0, 20), min_size=1))))
    item = WorkItem(access=Access(addresses=("a",)), path="/d", job_id="j", files=files)
    kind = draw(st.sampled_from(["whole", "ends", "range"]))
    if kind == "ends":
        return replace(item, parts=parts_of_ends(files, draw(st.integers(0, 5)), draw(st.integers(1, 5))))
    if kind == "range":
        start = draw(st.integers(0, files[0].size))
        return replace(item, files=files[:1], start=start, stop=draw(st.integers(start, files[0].size)))
    return item


def bytes_of(pieces):
    return sorted((piece.number, place) for piece in pieces for place in range(piece.start, piece.stop))


@given(items(), st.randoms(use_true_random=False))
def test_what_came_and_what_is_left_are_all_of_it_in_any_number_of_deliveries(item, rng):
    """No byte is missing from both, none is in both, each file is ended once, and the message can be read again."""
    whole = list(wanted(item))
    for _ in range(3):
        pieces = [one for _, left in rest(item) for one in left]
        left = []
        for piece in pieces:
            if rng.random() < 0.5:
                start = rng.randint(piece.start, piece.stop)
                left.append(Piece(piece.number, start, rng.randint(start, piece.stop), piece.last))
        unknown = {one.number for one in pieces if rng.random() < 0.1}
        came = what_came(item, left, unknown, 1)
        again = WorkItem.from_json(replace(item, came=came).to_json())
        assert again.came == (came or NOTHING_CAME)
        after = [one for _, rest_of in rest(again) for one in rest_of]
        forgotten = [one for one in whole if one.number in unknown]
        kept = [one for one in left if one.number not in unknown]
        assert bytes_of(after) == bytes_of([*kept, *forgotten])
        counted = sum(one.stop - one.start - sum(x.stop - x.start for x in more) for one, more in rest(again))
        assert counted == len(bytes_of(whole)) - len(bytes_of(after))
        item = again
    assert {one.number for one in whole} >= {one.number for _, more in rest(item) for one in more}


def test_an_empty_file_is_asked_for_until_it_was_answered():
    item = WorkItem(
        access=Access(addresses=("a",)), path="/d", job_id="j", files=(FileEntry("a", 0), FileEntry("b", 0))
    )
    (missed, _) = wanted(item)
    came = what_came(item, [missed], (), 1)
    assert (came.files, came.ranges) == (((1, 2),), ())
    assert [one for _, left in rest(replace(item, came=came)) for one in left] == [missed]
