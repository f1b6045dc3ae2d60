"""Which READ goes next, and what its answer means: pure, so time is a number and the server is the test."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import NfsSettings
from cachewarmer.errors import ConnectionLost, FileError, NfsStatusError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.receiving import ReadReply
from cachewarmer.targets.base import ReadRequest, Supply, Window
from cachewarmer.targets.nfs3.schedule import MOST_JUKEBOX_SECONDS, ReadSchedule

SETTINGS = NfsSettings(
    max_read_bytes=100,
    jukebox_seconds=1.0,
    jukebox_limit_seconds=60.0,
    fault_limit_seconds=20.0,
    stale_limit_seconds=10.0,
)


def schedule(calls=4, most_bytes=10_000):
    return ReadSchedule(SETTINGS, Window(calls=calls, bytes=most_bytes), "a", b"/export/")


def request(size, path=b"f", handle=b"h"):
    return ReadRequest(path, handle, 0, size, lambda _: None)


def whole(sent, now, reads):
    """Answers all of them as a healthy server does."""
    reads.answered([ReadReply(one, 0, one[3], eof=False) for one in sent], now)


def test_files_come_before_the_rest_of_a_file():
    """Parallelism is across files first: each gets a READ before one gets its second."""
    reads = schedule(calls=5)
    for name in (b"a", b"b", b"c"):
        reads.add(request(1000, name))
    sent = reads.take(0.0)
    assert [(one.path, offset) for _, one, offset, *_ in sent] == [
        (b"a", 0), (b"b", 0), (b"c", 0), (b"a", 100), (b"b", 100),
    ]  # fmt: skip


def test_calls_and_bytes_in_flight_stay_within_the_window():
    """Until answers free it."""
    reads = schedule(calls=10, most_bytes=250)
    reads.add(request(10_000))
    assert len(reads.take(0.0)) == 3
    assert reads.bytes_full
    assert reads.take(0.0) == []
    assert (reads.window.in_flight, reads.window.bytes_in_flight) == (3, 300)


@given(st.lists(st.integers(0, 950), max_size=12), st.integers(1, 6), st.randoms(use_true_random=False))
def test_every_byte_is_asked_for_once_whatever_order_the_answers_come_in(sizes, calls, rng):
    """Short replies are followed by a call for the rest; nothing at or past the end is asked for."""
    reads = schedule(calls)
    for number, size in enumerate(sizes):
        reads.add(request(size, b"%d" % number))
    flying, got = [], {b"%d" % number: [] for number in range(len(sizes))}
    finished = []
    for step in range(5000):
        flying += reads.take(float(step))
        finished += reads.collect()
        assert reads.window.in_flight == len(flying) <= calls
        if not flying:
            break
        one = flying.pop(rng.randrange(len(flying)))
        _, asked, offset, length, _ = one
        count = rng.choice((length, rng.randint(1, length)))
        got[asked.path].append((offset, offset + count))
        reads.answered([ReadReply(one, 0, count, eof=False)], float(step))
        finished += reads.collect()
    assert len(finished) == len(sizes)
    assert all(one.error is None for one in finished)
    for number, size in enumerate(sizes):
        covered = sorted(got[b"%d" % number])
        assert [start for start, _ in covered] == [0, *(stop for _, stop in covered[:-1])][: len(covered)]
        assert (covered[-1][1] if covered else 0) == size
    assert (reads.window.in_flight, reads.window.bytes_in_flight, reads.unfinished) == (0, 0, 0)


@pytest.mark.parametrize(("status", "limit"), [(nfs3.JUKEBOX, 60.0), (nfs3.SERVERFAULT, 20.0)])
def test_a_server_that_asks_to_wait_or_is_at_fault_is_asked_again_ever_later_and_not_for_ever(status, limit):
    """1, 2, 4 … 30 s, until the limit of its own that the status has."""
    reads = schedule()
    reads.add(request(50))
    now, waits = 0.0, []
    while not reads.done:
        (sent,) = reads.take(now)
        reads.answered([ReadReply(sent, status, 0, eof=False)], now)
        if reads.waits:
            reading, seconds = reads.waits.pop()
            assert reads.take(now) == []
            waits.append(seconds)
            now += seconds
            assert reads.take_back(reading)
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0][: len(waits)]
    assert max(waits) <= MOST_JUKEBOX_SECONDS
    assert limit <= now < 2 * limit
    assert isinstance(reads.done[0].error, NfsStatusError)
    assert reads.jukebox_waits == len(waits)


def test_a_stale_handle_is_resolved_at_once_and_then_ever_later():
    """A storm of NFS3ERR_STALE is sat out; a file whose handles are always stale fails in the end."""
    reads = schedule()
    reads.add(request(50))
    now, waits = 0.0, []
    while not reads.done:
        (sent,) = reads.take(now)
        reads.answered([ReadReply(sent, nfs3.STALE, 0, eof=False)], now)
        if reads.unresolved:
            reading, known_bad, seconds = reads.unresolved.pop()
            assert known_bad
            waits.append(seconds)
            now += seconds + 0.001
            assert reads.resolved(reading, None)
    assert waits[:3] == [0.0, 0.1, 0.2]
    assert now >= 10.0
    assert isinstance(reads.done[0].error, NfsStatusError)


def test_handles_are_asked_for_no_further_ahead_than_the_window():
    """A server that keeps few handles has not dropped one by the time it is used."""
    reads = schedule(calls=3)
    for number in range(100):
        reads.add(request(50, b"%d" % number, handle=b""))
    assert reads.take(0.0) == []
    assert len(reads.unresolved) == 3
    reading = reads.unresolved.pop().reading
    reading.request.handle = b"h"
    assert reads.resolved(reading, None)
    assert [one[0] for one in reads.take(0.0)] == [reading]
    assert len(reads.unresolved) == 3


def test_a_lost_connection_costs_its_calls_another_try_and_no_file_its_life():
    """Until it was lost too often."""
    reads = schedule()
    reads.add(request(90))
    for _ in range(3):
        sent = reads.take(0.0)
        assert [one[2:4] for one in sent] == [(0, 90)]
        reads.lost(sent, ConnectionLost("gone"), 4)
    assert reads.retries == 3
    whole(reads.take(1.0), 2.0, reads)
    (done,) = reads.collect()
    assert (done.error, done.bytes_read) == (None, 90)
    reads.add(request(90))
    for _ in range(4):
        reads.lost(reads.take(0.0), ConnectionLost("gone"), 4)
    reads.take(0.0)
    (done,) = reads.collect()
    assert isinstance(done.error, ConnectionLost)


@given(st.integers(1, 950), st.integers(0, 12), st.randoms(use_true_random=False))
def test_what_came_before_the_address_failed_and_what_is_left_are_the_whole_request(size, answers, rng):
    """Whatever was answered until then, and in whatever order: no byte is missing from both, and none is in both."""
    reads = schedule()
    reads.add(request(size))
    flying, got = [], []
    for step in range(answers):
        flying += reads.take(float(step))
        if not flying:
            break
        one = flying.pop(rng.randrange(len(flying)))
        count = rng.choice((one[3], rng.randint(1, one[3])))
        got.append((one[2], one[2] + count))
        reads.answered([ReadReply(one, 0, count, eof=False)], float(step))
    reads.lost(flying, ConnectionLost("gone"), 4)
    reads.end_all(ConnectionLost("gone"), 99.0)
    (done,) = reads.collect()
    if done.error is None:
        assert (done.left, sum(stop - start for start, stop in got)) == (None, size)
    else:
        left = [(0, size)] if done.left is None else list(done.left)
        ranges = [(0, 0), *sorted([*got, *left]), (size, size)]
        assert all(one[1] == other[0] for one, other in pairwise(ranges))


def test_a_file_whose_end_was_found_before_the_address_failed_is_not_taken_for_read():
    """Its last READ said that it ends early: what was promised beyond that is left, and is told about when asked again."""
    reads = schedule()
    reads.add(request(200))
    first, second = reads.take(0.0)
    reads.answered([ReadReply(second, 0, 10, eof=True)], 1.0)
    reads.lost([first], ConnectionLost("gone"), 4)
    reads.end_all(ConnectionLost("gone"), 2.0)
    (done,) = reads.collect()
    assert done.left == [(0, 100), (110, 200)]


def test_a_server_that_gives_neither_bytes_nor_an_end_is_believed_a_few_times():
    reads = schedule()
    reads.add(request(50))
    for _ in range(20):
        sent = reads.take(0.0)
        if not sent:
            break
        reads.answered([ReadReply(one, 0, 0, eof=False) for one in sent], 0.0)
    (done,) = reads.collect()
    assert isinstance(done.error, FileError)


def test_lowering_the_stop_ends_a_request_without_a_further_call():
    """Cancel, pause and eviction do that."""
    reads = schedule(calls=1)
    asked = request(1000)
    reads.add(asked)
    sent = reads.take(0.0)
    asked.stop = asked.start
    whole(sent, 1.0, reads)
    assert reads.take(1.0) == []
    assert reads.collect() == [asked]


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_the_latencies_are_those_from_sending_to_the_reply(calls):
    reads = schedule(calls)
    for number in range(20):
        reads.add(request(10, b"%d" % number))
    now = 0.0
    while sent := reads.take(now):
        now += 0.02
        whole(sent, now, reads)
        reads.collect()
    assert reads.latencies.calls == 20
    assert reads.latencies.seconds == pytest.approx(20 * 0.02)


def test_a_file_whose_order_counts_is_asked_for_to_its_end_first():
    """And those after it follow; others that are read beside them do not come between."""
    reads = schedule(calls=6)
    for name in (b"a", b"b", b"c"):
        reads.add(replace(request(250, name), in_order=True))
    sent = reads.take(0.0)
    whole(sent[:2], 1.0, reads)
    sent += reads.take(1.0)
    assert [(one.path, offset) for _, one, offset, *_ in sent] == [
        (b"a", 0), (b"a", 100), (b"a", 200), (b"b", 0), (b"b", 100), (b"b", 200), (b"c", 0), (b"c", 100),
    ]  # fmt: skip


class Several(Supply):
    """Requests that are there already."""

    def __init__(self, requests, in_order=False):
        self.requests, self.left, self.in_order = list(requests), len(requests), in_order

    def take(self):
        self.left -= 1
        return self.requests.pop(0)


def test_requests_are_taken_from_a_supply_as_the_window_has_room():
    """In the order in which supplies and single requests were given."""
    reads = schedule(calls=2)
    reads.add_all(Several([request(10, b"a"), request(10, b"b"), request(10, b"c")]))
    reads.add(request(10, b"d"))
    reads.add_all(Several([request(10, b"e")]))
    seen = []
    while sent := reads.take(0.0):
        seen.append([one[1].path for one in sent])
        assert reads.unfinished == 5 - 2 * (len(seen) - 1)
        whole(sent, 1.0, reads)
        reads.collect()
    assert seen == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert (reads.has_work, reads.is_busy, reads.unfinished) == (False, False, 0)


def test_a_supply_that_was_ended_is_passed_over():
    reads, ended = schedule(calls=2), Several([request(10, b"a"), request(10, b"b")])
    reads.add_all(ended)
    reads.add(request(10, b"c"))
    ended.left = 0
    assert reads.unfinished == 1
    assert [one[1].path for one in reads.take(0.0)] == [b"c"]
    assert not reads.has_work


def test_where_everything_ends_so_does_what_was_not_taken():
    reads = schedule(calls=1)
    supply = Several([request(10, bytes([letter])) for letter in b"abc"])
    reads.add_all(supply)
    (sent,) = reads.take(0.0)
    reads.lost([sent], ConnectionLost("gone"), 5)
    reads.end_all(ConnectionLost("gone"), 1.0)
    done = reads.collect()
    assert sorted(one.path for one in done) == [b"a", b"b", b"c"]
    assert all(isinstance(one.error, ConnectionLost) for one in done)
    assert (reads.is_busy, reads.unfinished, supply.left) == (False, 0, 0)


def test_files_of_a_supply_are_asked_for_one_after_the_other_where_order_counts():
    reads = schedule(calls=3)
    files = [replace(request(250, name), in_order=True) for name in (b"a", b"b")]
    reads.add_all(Several(files, in_order=True))
    assert [one[1].path for one in reads.take(0.0)] == [b"a", b"a", b"a"]
