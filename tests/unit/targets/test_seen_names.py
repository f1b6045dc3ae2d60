"""Names that a server lists again are noticed, exactly, in small and in large directories."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.targets.nfs3 import seen


class Entry(NamedTuple):
    name: bytes


def entries(*names):
    return [Entry(name) for name in names]


@given(st.lists(st.lists(st.binary(min_size=1, max_size=2), max_size=20), max_size=12))
def test_each_name_is_given_once_in_the_order_of_its_first_time(pages):
    """Whatever is repeated, in one part or over several."""
    names = seen.SeenNames()
    given_out = [entry.name for page in pages for entry in names.fresh(entries(*page))]
    wanted = list(dict.fromkeys(name for page in pages for name in page))
    assert given_out == wanted
    assert names.count == len(wanted)


@pytest.mark.parametrize("total", [700, 5000])
def test_a_large_directory_is_exact_as_well(monkeypatch, total):
    """Also where the names no longer fit into a set, and the table's bytes are shared by several of them."""
    monkeypatch.setattr(seen, "PLAIN_NAMES", 100)
    monkeypatch.setattr(seen, "RUNS_OF_A_KIND", 3)
    monkeypatch.setattr(seen, "TABLE_BYTES", 1 << 10)
    names = seen.SeenNames()
    listed = entries(*(b"f%d" % number for number in range(total)))
    found = []
    for start in range(0, total, 64):
        found += names.fresh(listed[start : start + 64])
        assert names.fresh(listed[max(0, start - 200) : start + 64]) == []
    assert found == listed
    assert names.count == total


def test_a_part_without_repeats_is_handed_on_as_it_is():
    """The usual case copies nothing."""
    page = entries(b"a", b"b")
    assert seen.SeenNames().fresh(page) is page
