"""The policy under simulated time: random histories of work, machines and misfortune, and what must hold in all of them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachewarmer.broker.base import Backlog
from cachewarmer.config import FleetSettings
from cachewarmer.errors import CapacityError, FleetError, FleetUnavailable
from cachewarmer.fleet.base import Action, Decision, FleetSize
from cachewarmer.fleet.policy import REPLACE_SECONDS, SURPLUS_SECONDS, Policy

pytestmark = pytest.mark.timeout(600)  # thousands of them, on a machine that may be busy

STEP = 5.0


@dataclass
class World:
    """A queue, workers that read from it, and a provider of machines that does what providers do."""

    chance: random.Random
    limit: int
    now: float = 0.0
    queued: int = 0
    scanning: bool = False
    exists: bool = False
    wanted: int = 0
    coming: list[float] = field(default_factory=list)
    """When the machines that were accepted will be there."""
    machines: list[float | None] = field(default_factory=list)
    """For each machine: when it will have settled what it holds; None: it holds nothing."""
    beside: bool = False
    own: float | None = None
    """The worker beside the manager: whether it shall read, and when it will have settled what it holds."""
    evicted: int = 0
    settled_at: float = 0.0
    evictions: float = 0.0
    room: int = 1000
    trouble: float = 0.0
    slowness: float = 10.0
    calls: list[tuple[float, Decision]] = field(default_factory=list)
    failures: int = 0

    @property
    def leased(self) -> int:
        return sum(until is not None for until in self.machines)

    @property
    def unsettled(self) -> int:
        return self.queued + self.leased + (self.own is not None)

    def backlog(self) -> Backlog:
        return Backlog(
            unsettled_items=self.unsettled,
            unsettled_bytes=self.unsettled * 1000,
            scanning_jobs=int(self.scanning),
            active_jobs=int(self.scanning or self.unsettled > 0),
        )

    def size(self) -> FleetSize:
        return FleetSize(
            exists=self.exists,
            wanted=self.wanted,
            running=len(self.machines) + len(self.coming),
            evicted=self.evicted,
        )

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        arrived = [at for at in self.coming if at <= self.now]
        self.coming = [at for at in self.coming if at > self.now]
        self.machines += [None] * len(arrived)
        for number, until in enumerate(self.machines):
            if until is not None and until <= self.now:
                self.machines[number] = None
                self.settled_at = until
            if self.machines[number] is None and self.queued:
                self.queued -= 1
                self.machines[number] = self.now + self.chance.uniform(0.1, 2) * self.slowness
        if self.own is not None and self.own <= self.now:
            self.settled_at, self.own = self.own, None
        if self.beside and self.own is None and self.queued:
            self.queued -= 1
            self.own = self.now + self.chance.uniform(0.1, 2) * self.slowness
        for number in reversed(range(len(self.machines))):
            if self.chance.random() < self.evictions:
                self.queued += self.machines.pop(number) is not None
                self.evicted += 1
                if self.chance.random() < 0.5:
                    self.wanted -= 1  # some providers lower the capacity with the machine

    def lose_own_worker(self) -> None:
        """The manager ends, and the worker in its process with it."""
        self.queued += self.own is not None
        self.own, self.beside = None, False

    def carry_out(self, decision: Decision) -> None:
        self.calls.append((self.now, decision))
        if self.chance.random() < self.trouble:
            self.failures += 1
            raise self.chance.choice([FleetUnavailable("busy"), FleetError("refused")])
        if decision.action is Action.DELETE:
            self.queued += self.leased  # only a manager that sees nothing does that
            self.exists, self.wanted, self.coming, self.machines = False, 0, [], []
            return
        self.exists = True
        self.wanted = max(decision.workers, len(self.machines) + len(self.coming))
        missing = self.wanted - len(self.machines) - len(self.coming)
        room = max(0, min(missing, self.room - len(self.machines) - len(self.coming)))
        self.coming += [self.now + self.chance.uniform(5, 120) for _ in range(room)]
        if room < missing:
            self.failures += 1
            raise CapacityError("no room")


@dataclass
class Manager:
    """A policy and what its driver does, over a world that others see too."""

    world: World
    settings: FleetSettings
    policy: Policy

    def look(self, *, sees_queues: bool = True, sees_fleet: bool = True) -> None:
        world = self.world
        backlog = world.backlog() if sees_queues else None
        size = world.size() if sees_fleet else None
        decision = self.policy.decide(world.now, backlog, size)
        world.beside = decision.beside
        if decision.action is Action.NOTHING:
            return
        self.check(decision, backlog)
        try:
            world.carry_out(decision)
        except FleetError as error:
            self.policy.failed(world.now, decision, error)
        else:
            self.policy.succeeded(decision)

    def check(self, decision: Decision, backlog: Backlog | None) -> None:
        """What must hold of every single decision."""
        world = self.world
        assert decision.reason
        if decision.action is Action.DELETE:
            if backlog is not None:
                assert world.leased == 0, "under a reader"
                assert world.now - world.settled_at >= self.settings.idle_seconds
            return
        assert backlog is not None, "machines for work that nobody saw"
        assert backlog.unsettled_items > 0, "machines without work"
        running = len(world.machines) + len(world.coming)
        if decision.action is Action.SCALE_IN:
            assert running <= decision.workers < world.wanted, "a machine that may hold work"
        else:
            assert decision.workers <= self.settings.workers, "above the limit"
            assert decision.workers <= backlog.unsettled_items, "more workers than work"


HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(1, 1500)),
        st.tuples(st.just("work"), st.integers(1, 60)),
        st.tuples(st.just("scan"), st.booleans()),
        st.tuples(st.just("evict"), st.sampled_from([0.0, 0.01, 0.3])),
        st.tuples(st.just("room"), st.integers(0, 12)),
        st.tuples(st.just("trouble"), st.sampled_from([0.0, 0.2, 0.7])),
        st.tuples(st.just("blind"), st.floats(1, 2000)),
        st.tuples(st.just("blind to the fleet"), st.floats(1, 300)),
        st.tuples(st.just("slow"), st.sampled_from([1.0, 10.0, 300.0])),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("second manager"), st.none()),
        st.tuples(st.just("away"), st.floats(1, 3000)),
    ),
    max_size=25,
)


def run(history, seed: int, configuration: FleetSettings, **sight: bool) -> World:
    """Plays a history, then lets the world calm down until nothing is left, seen by managers as ``sight`` says."""
    world = World(random.Random(seed), configuration.workers)
    managers = [Manager(world, configuration, Policy(configuration, 0.0))]

    def go_on(seconds: float, **seen: bool) -> None:
        until = world.now + seconds
        while world.now < until:
            world.pass_time(min(STEP, until - world.now))
            for manager in managers:
                manager.look(**seen)

    for kind, value in history:
        if kind == "work":
            world.queued += value
        elif kind == "scan":
            world.scanning = value
        elif kind == "evict":
            world.evictions = value
        elif kind == "room":
            world.room = value
        elif kind == "trouble":
            world.trouble = value
        elif kind == "slow":
            world.slowness = value
        elif kind == "restart":
            world.lose_own_worker()
            managers = [Manager(world, configuration, Policy(configuration, world.now))]
        elif kind == "second manager":
            managers = [managers[0], Manager(world, configuration, Policy(configuration, world.now))]
        elif kind == "away":
            world.lose_own_worker()
            world.pass_time(value)  # every manager is down; the machines read on
        else:
            go_on(value, **{"blind": {"sees_queues": False}, "blind to the fleet": {"sees_fleet": False}}.get(kind, {}))
        go_on(STEP)
    world.trouble = world.evictions = 0.0
    world.room, world.slowness, world.scanning = 1000, 1.0, False
    for _ in range(400):
        if not world.unsettled and not world.exists:
            break
        go_on(60, **sight)
    return world


@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    HISTORIES,
    st.integers(0, 2**32),
    st.builds(
        FleetSettings,
        workers=st.integers(1, 12),
        items_per_worker=st.sampled_from([1, 1, 5]),
        local_seconds=st.sampled_from([0.0, 0.0, 60.0]),
        worker_bytes_per_second=st.just(100),  # an item is 1000 bytes
    ),
)
def test_whatever_happens_it_ends_at_zero_with_all_the_work_done(history, seed, configuration):
    """Never above the limit or the work, never under a reader, and in the end nothing is left: neither work nor machines."""
    world = run(history, seed, configuration)
    assert (world.unsettled, world.exists, world.machines, world.coming) == (0, False, [], [])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.integers(0, 2**32), st.booleans())
def test_nothing_is_left_running_where_nobody_sees_the_queues(history, seed, sees_fleet):
    """However much work there is, and whether or not the fleet itself can be seen."""
    world = run([*history, ("work", 100)], seed, FleetSettings(workers=5), sees_queues=False, sees_fleet=sees_fleet)
    assert (world.exists, world.machines, world.coming) == (False, [], [])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.integers(0, 2**32), st.integers(1, 12))
def test_it_never_asks_to_and_fro(history, seed, workers):
    """Each call has its cause: more work, an eviction, a wait that is over. Looking twelve times a minute makes no more."""
    configuration = FleetSettings(workers=workers)
    calm = [(kind, value) for kind, value in history if kind not in ("second manager", "restart")]
    world = run(calm, seed, configuration)
    count = Counter(kind for kind, _ in calm)
    deletions = sum(decision.action is Action.DELETE for _, decision in world.calls)
    minutes = world.now / min(REPLACE_SECONDS, SURPLUS_SECONDS)
    assert deletions <= count["work"] + count["blind"] + count["scan"] + world.failures + 1
    assert len(world.calls) <= deletions + 2 * count["work"] + world.evicted + minutes + world.failures + 1
    grown = [(at, decision) for at, decision in world.calls if decision.action is not Action.DELETE]
    for (before, first), (after, second) in pairwise(grown):
        if second.action is Action.SCALE_IN:
            assert after - before >= SURPLUS_SECONDS, (first, second)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32))
def test_two_managers_come_to_the_same_fleet_and_ask_once(items, workers, seed):
    """The second sees what the first has asked for: without misfortune there is one creation and one deletion."""
    configuration = FleetSettings(workers=workers)
    world = run([("second manager", None), ("work", items), ("wait", 600.0)], seed, configuration)
    done = [decision.action for _, decision in world.calls]
    assert done.count(Action.CREATE) == done.count(Action.DELETE)
    assert done.count(Action.SCALE_IN) == 0
    assert not world.exists
