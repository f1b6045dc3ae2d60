"""The sample: the same for a seed, as large as wanted, and true to the weights."""

import random
from collections import Counter

from cachewarmer.verification.sampling import BLOCK_BYTES, FoundFile, Sampler


def file(name, size, start=0, stop=None):
    return FoundFile(name, size, start, size if stop is None else stop, b"", "", "/")


FILES = [file(b"d%d/f%d" % (number % 40, number), 1000 * (number % 97)) for number in range(5000)]


def sampled(files, count=300, seed=3, **more):
    sampler = Sampler(count, seed=seed, **more)
    for one in files:
        sampler.add(one)
    return sampler


def test_the_order_of_the_scan_does_not_matter_and_the_seed_does():
    mixed = FILES.copy()
    random.Random(1).shuffle(mixed)
    assert sampled(FILES).samples() == sampled(mixed).samples()
    assert sampled(FILES).samples() != sampled(FILES, seed=4).samples()


def test_it_is_about_as_large_as_wanted_and_adds_up_to_the_whole():
    for by_bytes in (True, False):
        samples = sampled(FILES, by_bytes=by_bytes).samples()
        assert 285 <= sum(one.draws for one in samples) <= 315
        assert abs(sum(one.weight for one in samples) - 1) < 1e-9
        assert len({(one.file.path, one.start) for one in samples}) == len(samples)


def test_every_byte_has_the_same_chance():
    """A file of 90 % of the bytes among a thousand small ones gets 90 % of the draws."""
    files = [file(b"big", 9_000_000_000), *(file(b"s%d" % number, 1_000_000) for number in range(1000))]
    samples = sampled(files, count=400).samples()
    drawn = Counter(one.file.path == b"big" for one in samples)
    assert 355 <= drawn[True] <= 365


def test_every_file_has_the_same_chance_where_files_count():
    files = [file(b"big", 9_000_000_000), *(file(b"s%d" % number, 1_000) for number in range(1000))]
    samples = sampled(files, count=100, by_bytes=False).samples()
    assert sum(one.file.path == b"big" for one in samples) <= 1
    assert all(one.start == one.stop for one in samples)


def test_of_a_small_tree_every_block_is_taken_once():
    sampler = sampled([file(b"a", 3 * BLOCK_BYTES + 1), file(b"b", 10), file(b"none", 0)])
    assert sampler.complete
    found = sorted((one.file.path, one.start, one.stop) for one in sampler.samples())
    assert found == [
        (b"a", 0, BLOCK_BYTES),
        (b"a", BLOCK_BYTES, 2 * BLOCK_BYTES),
        (b"a", 2 * BLOCK_BYTES, 3 * BLOCK_BYTES),
        (b"a", 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1),
        (b"b", 0, 10),
    ]


def test_blocks_stay_in_the_range_that_is_meant():
    sampler = sampled([file(b"f", 1 << 40, 1000, 1 << 30), file(b"f", 1 << 40, 1 << 30, 1 << 31)])
    samples = sampler.samples()
    assert not sampler.complete
    assert all(one.file.start <= one.start < one.stop <= one.file.stop for one in samples)


def test_memory_stays_bounded_however_many_files_there_are():
    sampler = sampled((file(b"d%d/%d" % (number % 999, number), 1 << (number % 36)) for number in range(60_000)), 100)
    kept = sum(len(one.kept) for one in sampler._strata.values())
    assert kept <= 2 * 100 + 9 * len(sampler._strata)


def test_an_empty_tree_has_no_sample():
    assert sampled([]).samples() == []
