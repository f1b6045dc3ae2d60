"""Paths of any bytes: as text, joined, and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer import paths


@given(st.binary(max_size=60))
def test_every_byte_survives_as_text(raw):
    """Also what is not UTF-8."""
    assert paths.to_bytes(paths.to_text(raw)) == raw


@given(st.binary(max_size=60))
def test_what_is_shown_can_not_act_on_a_terminal(raw):
    """Every character of it can be printed, on any terminal that takes UTF-8."""
    shown = paths.printable(raw)
    assert shown.isprintable()
    shown.encode()
    assert paths.printable(paths.to_text(raw)) == shown


def test_escapes_tell_bytes_apart():
    """A byte that is not UTF-8 is shown by its number, and a control character too."""
    assert paths.printable(b"caf\xc3\xa9 \xe9\x1b[m\n") == "caf\xe9 \\xe9\\x1b[m\\n"


@pytest.mark.parametrize(
    ("given", "joined"),
    [(("/data", "/tools"), "/data/tools"), (("/", ""), "/"), (("", "a//b"), "/a/b"), (("/" * 100_000, "x"), "/x")],
)
def test_paths_are_joined_with_single_slashes(given, joined):
    """However many there were."""
    assert paths.join(*given) == joined


@pytest.mark.parametrize(
    ("directory", "path", "seen"),
    [
        ("/data", "/data/a/b", "/a/b"),
        ("/data", "/data", "/"),
        ("/data/", "/data/a", "/a"),
        ("/", "/a", "/a"),
        ("/data", "/database", "/database"),
    ],
)
def test_a_path_is_seen_from_the_directory_that_holds_it(directory, path, seen):
    """And is unchanged where that does not hold it."""
    assert paths.below(directory, path) == seen


def test_a_part_of_two_dots_climbs_and_a_name_with_them_does_not():
    """Whatever lies around it."""
    assert paths.climbs("a/../b")
    assert not paths.climbs("a/..b/c..")
