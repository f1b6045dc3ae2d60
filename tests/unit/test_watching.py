"""When rounds of a watch begin, and that there is one at a time."""

import pytest

from cachewarmer.target import make_job, parse_target
from cachewarmer.watching import Busy, alone, next_start


@pytest.mark.parametrize(
    ("now", "expected"),
    [(100.0, 110.0), (105.0, 110.0), (109.9, 110.0), (110.0, 120.0), (137.0, 140.0), (99.0, 110.0)],
)
def test_missed_rounds_are_left_out(now, expected):
    """Rounds keep to their times; one that took long skips those that were due meanwhile."""
    assert next_start(100.0, 10.0, now) == expected


async def test_a_target_has_one_watch(tmp_path, monkeypatch):
    """At one broker; another target, or another broker, is free. What ended leaves no lock."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = (make_job(parse_target(f"cache1:/{name}")) for name in "ab")
    async with alone(one, "sqlite:///x"):
        with pytest.raises(Busy, match="another process watches cache1:/a"):
            async with alone(one, "sqlite:///x"):
                pass
        async with alone(other, "sqlite:///x"), alone(one, "sqlite:///y"):
            pass
    async with alone(one, "sqlite:///x"):
        pass
