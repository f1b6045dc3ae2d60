"""A plan comes to what the simulated cache that was probed would do."""

import random
from pathlib import Path

import pytest

from cachewarmer.broker.effort import Items
from cachewarmer.errors import ConfigError, UsageError
from cachewarmer.forecast.fitting import best, fit, mixed, simulate
from cachewarmer.forecast.forecast import Asked, forecast, worker_counts
from cachewarmer.forecast.operations import operations
from cachewarmer.forecast.prices import Prices, load_prices
from cachewarmer.forecast.probing import WINDOWS, Probe, Step, grew
from cachewarmer.forecast.simulated import CacheModel, SimulatedCache, SimulatedWorker
from cachewarmer.forecast.workload import SMALL_BYTES, Workload
from cachewarmer.model import Bound

MIB = 1 << 20
CPU = 20e-6
"""Of a worker, for each READ."""


def step(model, window, each, *, seconds=0.4):
    """What a probe of that cache would measure."""
    cache = SimulatedCache(model)
    worker = SimulatedWorker(cache, lambda: each, window=window, call_seconds=CPU, byte_seconds=0.0)
    worker.begin()
    cache.run(seconds)
    full = 1.1 * model.threads < window
    return Step(
        window=window,
        calls=worker.calls,
        bytes=worker.bytes,
        seconds=seconds,
        latency=window * seconds / worker.calls,
        cpu_seconds=worker.busy_seconds,
        bound=Bound.THREADS if full else Bound.WINDOW,
    )


def probed(model, each):
    steps = []
    for window in WINDOWS:
        steps.append(step(model, window, each))
        if len(steps) > 1 and not grew(steps[-2:]):
            break
    kind = "small" if each <= SMALL_BYTES else "large"
    return Probe(way_seconds=model.wire_seconds, read_bytes=MIB, **{kind: tuple(steps)})


def real_rate(model, each, window, workers):
    """The same cache, asked by so many workers for a long time."""
    cache = SimulatedCache(model, seed=7)
    made = [
        SimulatedWorker(cache, lambda: each, window=window, call_seconds=1.5 * CPU, byte_seconds=0)
        for _ in range(workers)
    ]
    for one in made:
        one.begin()
    cache.run(1.0)
    before = sum(one.calls for one in made)
    cache.run(4.0)
    return (sum(one.calls for one in made) - before) / 3.0


CACHES = {
    "far away": (CacheModel(threads=512, origin_seconds=0.02), 8192, Bound.WINDOW),
    "near, one processor": (CacheModel(threads=512, origin_seconds=0.0005, cpu_seconds=0.0002), 8192, Bound.LINK),
    "8 threads": (CacheModel(threads=8, origin_seconds=0.02), 8192, Bound.THREADS),
    "100 Mbit/s": (CacheModel(threads=512, origin_seconds=0.005, link_bytes_per_second=1.25e7), MIB, Bound.LINK),
    "large files far away": (
        CacheModel(threads=512, origin_seconds=0.02, link_bytes_per_second=2e9),
        MIB,
        Bound.WINDOW,
    ),
}


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_is_found_again_from_its_probe(name):
    """Its rate for one worker with the window that was probed, and what bounds it."""
    model, each, bound = CACHES[name]
    found = fit(probed(model, each))
    planned = simulate(found, lambda: each, 16, 1)
    assert planned.calls == pytest.approx(real_rate(model, each, 16, 1), rel=0.2)
    assert planned.bound is bound


@pytest.mark.parametrize("name", ["8 threads", "near, one processor", "100 Mbit/s"])
def test_more_workers_bring_no_more_than_the_ceiling_that_was_found(name):
    model, each, _ = CACHES[name]
    planned = simulate(fit(probed(model, each)), lambda: each, 16, 8)
    assert planned.calls == pytest.approx(real_rate(model, each, 16, 8), rel=0.25)


def test_where_no_ceiling_was_found_more_workers_are_planned_at_best():
    """And said to be so."""
    model, each, _ = CACHES["far away"]
    found = fit(probed(model, each))
    work = Workload.of_numbers(100_000, 100_000 * each, MIB)
    asked = Asked(work=work, items=Items(50, 4915200), window=16)
    rows = [forecast(found, asked, workers) for workers in worker_counts(8)]
    assert [row.workers for row in rows] == [1, 2, 4, 8]
    assert [row.beyond_probe for row in rows] == [False, False, True, True]
    assert rows[0].seconds > 1.8 * rows[1].seconds > 3 * rows[2].seconds
    assert rows[0].cost is None


@pytest.mark.parametrize("seed", range(20))
def test_any_probe_gives_a_finite_plan(seed):
    """Noise in every number: rates that fall, latencies that do not fit them."""
    chance = random.Random(seed)

    def made(window, each):
        calls = chance.randrange(1, 3000)
        return Step(
            window=window,
            calls=calls,
            bytes=calls * each,
            seconds=chance.uniform(0.01, 3),
            latency=10 ** chance.uniform(-6, 0.5),
            cpu_seconds=chance.uniform(0, 3),
            bound=chance.choice([Bound.WINDOW, Bound.THREADS, Bound.LINK, Bound.CPU]),
        )

    small = tuple(made(window, 9000) for window in WINDOWS[: chance.randrange(0, 4)])
    large = tuple(made(window, MIB) for window in WINDOWS[: chance.randrange(0 if small else 1, 4)])
    found = fit(Probe(way_seconds=chance.choice([0.0, 0.3]), read_bytes=MIB, small=small, large=large))
    work = Workload.of_histogram([5, 0, 0, 9, *[0] * 20, 7], 9 * 5 + 7 * 10_000_000, MIB)
    row = forecast(found, Asked(work=work, items=Items(1, 49152), window=16), 2)
    assert 0 < row.seconds < 1e9
    assert best(small or large).calls_per_second > 0


def test_a_limit_and_a_slow_scan_bound_a_plan():
    model, each, _ = CACHES["far away"]
    found = fit(probed(model, each))
    work = Workload.of_numbers(10_000, 10_000 * each, MIB)
    items = Items(5, 442368)
    paced = forecast(found, Asked(work=work, items=items, window=16, max_bandwidth=MIB), 1)
    assert (paced.bound, round(paced.seconds)) == (Bound.PACE, round(work.bytes / MIB + 0.3))
    scanned = forecast(found, Asked(work=work, items=items, window=16, scan_seconds=900), 1)
    assert (scanned.bound, scanned.seconds) == (Bound.SCAN, 900.3)


def test_a_workload_counts_calls_by_the_sizes_of_files():
    """Small files take one READ, large ones as many as their bytes need, empty ones none."""
    work = Workload.of_histogram([3, *[0] * 12, 100, *[0] * 10, 2], 100 * 6000 + 2 * 12 * MIB, MIB)
    assert (work.files, work.small_calls) == (105, 100)
    assert 20 <= work.large_calls <= 28
    assert work.small_bytes + work.large_bytes == work.bytes
    draw = mixed(work)
    assert {draw() for _ in range(1000)} == {work.small_bytes // 100, work.large_bytes // work.large_calls}
    assert work.cached_bytes == work.bytes + 105 * 2048
    for files, count in ((0, 5), (1, 1 << 63)):
        with pytest.raises(UsageError):
            Workload.of_numbers(files, count, MIB)
    assert Workload.of_numbers(3, 0, MIB).calls == 0


def test_operations_grow_with_items_time_and_workers():
    few = operations(Items(10, 983040), seconds=10, workers=1)
    many = operations(Items(10_000, 983040000), seconds=10, workers=1)
    longer = operations(Items(10, 983040), seconds=1000, workers=8)
    assert few["azure"] > few["sqlite"]
    assert many["azure"] >= 3 * 20_000
    assert longer["postgresql"] > few["postgresql"] + 8 * 1000


PRICES = """
source = "made up"
date = 2026-01-31
machine_hour = 0.5
workers_per_machine = 4
[per_million_operations]
azure = 2
"""


def test_a_plan_costs_machine_hours_and_operations(tmp_path):
    """By the table of the user's file: whole machines, and what a broker takes for operations."""
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    prices = load_prices(str(file))
    assert prices == Prices(
        source="made up",
        date="2026-01-31",
        machine_hour=0.5,
        workers_per_machine=4,
        per_million_operations={"azure": 2.0},
    )
    model, each, _ = CACHES["far away"]
    work = Workload.of_numbers(10_000, 10_000 * each, MIB)
    asked = Asked(work=work, items=Items(5, 442368), window=16, scan_seconds=7199.7, prices=prices)
    row = forecast(fit(probed(model, each)), asked, 5)
    assert row.machine_hours == pytest.approx(4.0), "two machines for two hours"
    assert row.cost["sqlite"] == pytest.approx(2.0)
    assert row.cost["azure"] == pytest.approx(2.0 + row.operations["azure"] * 2 / 1e6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine_hour = 1", "source must be given"),
        (PRICES.replace("0.5", "-1"), "machine_hour must be a price"),
        (PRICES.replace("0.5", "nan"), "machine_hour must be a price"),
        (PRICES.replace("0.5", "true"), "machine_hour must be a price"),
        (PRICES.replace("azure", "sqs"), "prices for sqlite, azure, postgresql"),
        (PRICES.replace("= 4", "= 0"), "between 1 and 1024"),
        (PRICES.replace("machine_hour", "machine_hours"), "unknown key 'machine_hours'"),
        (PRICES.replace("made up", r"\u001b[31m"), "source must be given"),
        ("source = [", ""),
        ("x = " + "[" * 3000, ""),
        ("#" * 70_000, "more than"),
    ],
)
def test_a_bad_price_table_is_named_in_one_line(tmp_path, text, said):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_prices(str(file))
    assert said in str(raised.value)
    assert "prices.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_price_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_prices(str(tmp_path / "none.toml"))


def test_the_example_of_a_price_table_is_one():
    """It can be read, says that it is made up, and is what the page shows."""
    docs = Path(__file__).parents[3] / "docs"
    example = docs / "prices.example.toml"
    assert load_prices(str(example)).source == "made up for this example"
    page = (docs / "plan.md").read_text()
    for line in example.read_text().splitlines():
        assert line.startswith("#") or line in page


def test_a_gentle_or_bounded_window_is_planned_as_such():
    """Half of what was found worth it, and no more than the maximum."""
    model, each, _ = CACHES["far away"]
    found = fit(probed(model, each))
    work = Workload.of_numbers(10_000, 10_000 * each, MIB)

    def calls(**more):
        return forecast(found, Asked(work=work, items=Items(5, 442368), window=0, **more), 1).calls_in_flight

    assert calls() == found.worth_calls
    assert calls(window_share=0.5) == found.worth_calls // 2
    assert calls(most_window=7) == 7
