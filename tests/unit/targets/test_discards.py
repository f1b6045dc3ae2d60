"""Holding readers back while a cache's writer is behind, and telling which files it dropped."""

import threading

import pytest

from cachewarmer.targets.local.discards import FIRST_LIMIT, MIN_LIMIT, Counts, Discards, gave_up, read_counts

BLOCKS_A_SECOND = 1000.0
CAPACITY = 13


class Cache:
    """A cache with a writer of a fixed speed and a short queue, in a time of its own."""

    def __init__(self, capacity=CAPACITY):
        self.now = 100.0
        self.capacity = capacity
        self.fetched = self.dropped = self.looks = 0
        self.written = 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.written = min(self.written + seconds * BLOCKS_A_SECOND, self.fetched - self.dropped)

    def fetch(self):
        """One block read: kept if the queue has room for it."""
        waiting = self.fetched - self.dropped - self.written
        self.fetched += 1
        self.dropped += waiting >= self.capacity

    def look(self):
        self.looks += 1
        return Counts(float(self.fetched), float(int(self.written)), float(self.dropped))

    def discards(self):
        return Discards(self.look, self.clock, self.sleep)


def read(cache, discards, seconds=0.0001):
    """Reads one file of one block; its mark and when it ended."""
    mark = discards.begin(lambda: True)
    cache.sleep(seconds)
    cache.fetch()
    return mark, discards.end()


def test_a_reader_faster_than_the_writer_is_held_back_so_that_next_to_nothing_is_dropped():
    """It could read ten times as fast as the cache can keep."""
    cache = Cache()
    discards = cache.discards()
    for _ in range(2000):
        read(cache, discards)
    assert cache.dropped <= 2
    assert cache.now - 100.0 < 2000 / BLOCKS_A_SECOND * 1.5, "and yet it keeps the writer busy"


def test_a_look_serves_many_reads():
    """It costs the cache as much as several small files."""
    cache = Cache()
    discards = cache.discards()
    for _ in range(2000):
        read(cache, discards)
    assert cache.looks < 2000 / 4, cache.looks


def test_a_reader_slower_than_the_writer_does_not_wait():
    """There is room all the time, so that time passes in reading only."""
    cache = Cache()
    discards = cache.discards()
    for _ in range(500):
        read(cache, discards, 0.002)
    assert cache.now - 100.0 == pytest.approx(500 * 0.002, rel=0.05)


def test_the_limit_falls_after_drops_and_rises_slowly_again():
    """A queue that is shorter than was assumed is found by its drops; none come once the limit suits it."""
    cache = Cache(capacity=5)
    discards = cache.discards()
    for _ in range(500):
        read(cache, discards)
    assert MIN_LIMIT <= discards.limit < FIRST_LIMIT
    assert 0 < cache.dropped < 25


def test_a_file_read_across_a_drop_was_not_kept_and_one_read_after_it_was():
    """The count says only that something was dropped between two looks."""
    cache = Cache()
    discards = cache.discards()
    before, before_ended = read(cache, discards)
    cache.dropped += 1
    cache.sleep(0.5)
    assert not discards.kept(before, before_ended + 0.02)
    after, after_ended = read(cache, discards)
    cache.sleep(0.5)
    assert discards.kept(after, after_ended + 0.02)


def test_a_later_drop_does_not_blame_a_file_that_an_earlier_look_cleared():
    """Looks are remembered with their times."""
    cache = Cache()
    discards = cache.discards()
    mark, ended = read(cache, discards)
    cache.sleep(0.1)
    other, other_ended = read(cache, discards)
    assert discards.kept(mark, ended + 0.02)
    cache.dropped += 1
    cache.sleep(0.1)
    assert not discards.kept(other, other_ended + 0.02)
    assert discards.kept(mark, ended + 0.02)


def test_what_other_programs_read_or_write_does_not_stall_a_reader():
    """Blocks fetched past the cache are never written: the backlog that they seem to be does not last."""
    cache = Cache()
    discards = cache.discards()
    looked = cache.look

    def look():
        counts = looked()
        return counts._replace(fetched=counts.fetched + 1000)

    discards._read_counts = look
    for _ in range(100):
        read(cache, discards)
    assert cache.now - 100.0 < 1.0


def test_a_wait_ends_when_nobody_wants_the_file_any_more():
    """A writer that stands still must not hold a thread that was given up."""
    cache = Cache()
    discards = cache.discards()
    cache.sleep = lambda seconds: setattr(cache, "now", cache.now + seconds)  # nothing is written
    discards._sleep = cache.sleep
    for _ in range(FIRST_LIMIT):
        read(cache, discards)
    asked = []

    def alive():
        cache.fetched += 1  # another program reads as well: the writer is behind, not idle
        asked.append(cache.now)
        return len(asked) < 5

    discards.begin(alive)
    assert len(asked) >= 5


def test_threads_together_stay_within_the_limit():
    """Whoever is waiting when room is made takes a place only if there is one."""
    cache = Cache()
    guard = threading.Lock()
    discards = cache.discards()

    def work():
        for _ in range(100):
            discards.begin(lambda: True)
            with guard:
                cache.sleep(0.0001)
                cache.fetch()
            discards.end()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.fetched == 800
    assert cache.dropped < 80


def test_the_counts_are_read_from_prometheus_text(tmp_path):
    """With or without labels; sums over labels; what is missing is 0."""
    stats = tmp_path / ".stats"
    stats.write_text(
        "juicefs_blockcache_drops 3\njuicefs_blockcache_drops_total 99\n"
        'juicefs_blockcache_writes{vol="a"} 5\njuicefs_blockcache_writes{vol="b"} 2\n\nnoise\n'
    )
    assert read_counts(bytes(stats)) == Counts(0.0, 7.0, 3.0)


def test_giving_up_names_the_file_and_what_to_do():
    """It is in the report."""
    assert "/a/b" in str(gave_up(b"a/b"))
    assert "fewer threads" in str(gave_up(b"a/b"))
