"""The window of an address, divided between processes."""

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import NfsSettings, Settings
from cachewarmer.worker.share import reader_count, shares, with_share


@given(st.integers(2, 4096), st.integers(2, 64), st.booleans())
def test_the_shares_add_up_to_the_window(window, processes, scanning):
    """Not a call more, not one less, and nobody is left without any."""
    readers = reader_count(window, processes)
    made = shares(window, readers, scanning=scanning)
    assert sum(made.readers) + made.scan == window
    assert min(made.readers) >= 1
    assert (made.scan >= 1) is scanning
    assert max(made.readers) - min(made.readers) <= 1


def test_a_small_window_is_not_divided_among_many():
    assert reader_count(16, 4) == 4
    assert reader_count(3, 4) == 2
    assert reader_count(1, 4) == 1


def test_bytes_and_connections_are_divided_as_well():
    whole = Settings(nfs=NfsSettings(window_calls=16, window_bytes=1600, connections=4))
    nfs = with_share(whole, 4, 4).nfs
    assert (nfs.window_calls, nfs.window_bytes, nfs.connections) == (4, 400, 1)
