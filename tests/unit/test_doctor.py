"""What the steps of the doctor's probe say."""

from cachewarmer.doctor.knee import Step, judged, stops
from cachewarmer.findings import Level

IDLE = 0.001


def test_a_rate_that_grows_no_more_is_the_knee():
    steps = [Step(1, 100, IDLE), Step(2, 200, IDLE), Step(4, 390, IDLE), Step(8, 400, IDLE)]
    assert [stops(steps[: end + 1], IDLE) for end in range(4)] == [False, False, False, True]
    found = judged(steps, IDLE)
    assert found.level is Level.WARNING
    assert "about 4 calls" in found.said
    assert "server threads" in found.mend


def test_a_server_that_answers_at_once_has_no_knee_to_be_found():
    steps = [Step(1, 6000, IDLE), Step(2, 6100, IDLE)]
    assert judged(steps, IDLE).level is Level.OK


def test_others_that_wait_are_a_knee_too():
    steps = [Step(1, 100, IDLE), Step(2, 200, 0.02)]
    assert stops(steps, IDLE)
    assert "about 1 call at once" in judged(steps, IDLE).said


def test_a_cache_that_takes_all_that_was_tried_has_no_knee_there():
    steps = [Step(calls, calls * 100, IDLE) for calls in (1, 2, 4, 8, 16, 32)]
    found = judged(steps, IDLE)
    assert found.level is Level.OK
    assert "not reached" in found.said
