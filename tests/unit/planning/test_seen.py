from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.planning.listed import Named
from cachewarmer.planning.seen import Seen


@given(st.lists(st.binary(max_size=3)))
def test_it_is_a_set(paths):
    seen, reference = Seen(), set()
    for path in paths:
        assert (path in seen) == (path in reference)
        assert seen.add(path) is (path not in reference)
        reference.add(path)
    assert len(seen) == len(reference)


def test_it_keeps_its_promise_when_its_parts_are_sorted():
    """Enough paths for each part to be sorted several times."""
    seen = Seen()
    assert all(seen.add(b"%d" % number) for number in range(60_000))
    assert not any(seen.add(b"%d" % number) for number in range(60_000))


def test_what_lies_below_a_named_directory_is_named():
    named = Named(frozenset({b".snapshot"}))
    assert named.add(b"a/b", directory=True)
    assert not named.add(b"a/b", directory=True)
    assert not named.add(b"a/b/c/d", directory=False)
    assert named.add(b"a/bc", directory=False)
    assert named.add(b"a", directory=True)
    assert named(b"a/bc")
    assert not named(b"a/x")
    assert named.covers(b"a/x")


def test_what_the_walk_passes_over_is_not_named_by_the_directory_above():
    named = Named(frozenset({b".snapshot"}))
    named.add(b"", directory=True)
    assert not named.add(b"a/x", directory=False)
    assert named.add(b".snapshot/x", directory=False)
    assert named.add(b"a/.snapshot/h/x", directory=False)
