"""The smallest configuration of the model of the broker's protocol; the others run in tests/soak."""

from tests.spin import check


def test_nothing_is_lost_or_counted_twice_whatever_goes_wrong_once(tmp_path):
    """Spin goes through every run of two workers, two items and one fault over a database."""
    found = check(tmp_path, "", liveness=False)
    assert (found.errors, found.complete) == (0, True), found.output
    assert found.states > 10_000


def test_the_model_can_fail(tmp_path):
    """A worker that counts an item without holding its lease is found to count it twice."""
    found = check(tmp_path, "MUTANT_COUNTED_UNLEASED", liveness=False)
    assert found.errors == 1
    assert "assertion violated (tally==" in found.output
