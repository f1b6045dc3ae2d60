"""How much a worker claims: numbers in, a number out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.worker.appetite import AHEAD_SECONDS, AHEAD_WINDOWS, MAX_ITEMS, Load, items_to_claim

CALLS, BYTES = 16, 64 << 20
FULL = AHEAD_WINDOWS * CALLS


def claimed(**load):
    return items_to_claim(Load(**load), window_calls=CALLS, window_bytes=BYTES)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ({}, 2),
        ({"items": 1, "requests": 0}, 2),
        ({"items": 1, "requests": FULL}, 1),
        ({"items": 1, "bytes": AHEAD_WINDOWS * BYTES}, 1),
        ({"items": 2, "requests": FULL}, 0),
        ({"items": 2, "requests": FULL // 2}, 2),
        ({"items": 4, "requests": FULL // 4}, 8),
        ({"items": 4, "requests": 1}, 8),
        ({"items": 10, "requests": FULL * 15 // 16}, 1),
        ({"items": MAX_ITEMS, "requests": 0}, 0),
        ({"items": MAX_ITEMS - 1, "requests": 1}, 1),
    ],
)
def test_what_is_claimed_fills_what_is_read_ahead(load, expected):
    """One to read, one to go on with, and else what fills four windows with items like those that are held."""
    assert claimed(**load) == expected


def test_a_pace_lowers_what_is_read_ahead():
    """What would take longer than a few seconds is left to other workers."""
    slow = 1000.0
    assert claimed(items=2, bytes=int(AHEAD_SECONDS * slow), bytes_per_second=slow) == 0
    assert claimed(items=2, bytes=int(AHEAD_SECONDS * slow)) > 0


@pytest.mark.parametrize(
    ("load", "idle", "expected"),
    [
        ({"items": 1, "requests": 4 * FULL}, 3, 3),
        ({"items": 4, "requests": 4 * FULL}, 3, 3),
        ({"items": 7, "requests": 4 * FULL}, 3, 1),
        ({"items": 8, "requests": 4 * FULL}, 3, 0),
        ({"items": 4, "requests": 4 * FULL}, 0, 0),
        ({"items": 4, "requests": 4 * FULL, "bytes": 1 << 40, "bytes_per_second": 1000.0}, 3, 0),
    ],
)
def test_each_of_several_addresses_gets_something_to_read(load, idle, expected):
    """A few large items are more than all windows hold, and yet go to one or two addresses; a pace needs no more."""
    wanted = items_to_claim(
        Load(**load), window_calls=4 * CALLS, window_bytes=4 * BYTES, addresses=4, idle_addresses=idle
    )
    assert wanted == expected


LOADS = st.builds(
    Load,
    items=st.integers(0, MAX_ITEMS),
    requests=st.integers(0, 10**6),
    bytes=st.integers(0, 1 << 50),
    bytes_per_second=st.floats(0, 1e12, allow_nan=False),
)


@given(LOADS, st.integers(1, 1024), st.integers(1, 1 << 40), st.integers(1, 64), st.integers(0, 64))
def test_no_load_makes_it_hold_more_than_the_maximum_or_run_dry(load, calls, window_bytes, addresses, idle):
    wanted = items_to_claim(
        load, window_calls=calls, window_bytes=window_bytes, addresses=addresses, idle_addresses=min(idle, addresses)
    )
    assert wanted >= 0
    assert load.items + wanted <= max(MAX_ITEMS, load.items)
    assert load.items + wanted >= 2


@given(LOADS, st.integers(1, 1 << 20))
def test_who_holds_more_requests_claims_no_more(load, more):
    heavier = Load(
        items=load.items, requests=load.requests + more, bytes=load.bytes, bytes_per_second=load.bytes_per_second
    )
    assert items_to_claim(heavier, window_calls=CALLS, window_bytes=BYTES) <= items_to_claim(
        load, window_calls=CALLS, window_bytes=BYTES
    )
