"""The points of the charts."""

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.web.history import MOST_POINTS, History


@given(st.integers(1, 6000), st.floats(0.1, 30))
def test_it_stays_bounded_and_spans_the_whole_time(points, every):
    """The first point stays; the last is never older than the step of the chart."""
    history = History()
    for number in range(points):
        history.add((number * every, number, 0, 0, 0.0))
    assert len(history.points) <= MOST_POINTS
    assert history.points[0][0] == 0
    last = (points - 1) * every
    assert last - history.points[-1][0] <= 4 * max(every, last / MOST_POINTS)
    assert [one[0] for one in history.points] == sorted(one[0] for one in history.points)
