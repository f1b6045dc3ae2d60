"""What a worker is seen to do, over a tree in memory, and clocks that are passed in."""

from pathlib import Path

from cachewarmer.config import NfsSettings, Settings
from cachewarmer.machine import interface_speeds, machine_times
from cachewarmer.targets.base import Felt, Mount, ReadRequest
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker.held import HeldItems
from cachewarmer.worker.watching import Watch
from tests.memory import MemorySession, opener

SETTINGS = Settings(nfs=NfsSettings(window_calls=2))


def interface(where: Path, name: str, speed: str, received: int) -> None:
    (where / name / "statistics").mkdir(parents=True, exist_ok=True)
    (where / name / "speed").write_text(f"{speed}\n")
    (where / name / "statistics" / "rx_bytes").write_text(f"{received}\n")


class Time:
    def __init__(self):
        self.now = self.cpu = 0.0
        self.machine = (0.0, 0.0)


def watch_of(pool, where, time):
    return Watch(
        HeldItems(), pool, clock=lambda: time.now, cpu=lambda: time.cpu, machine=lambda: time.machine, interfaces=where
    )


async def test_shares_are_of_the_last_looks(tmp_path):
    """Of the processor, the machine, and the interface that tells its speed."""
    interface(tmp_path, "eth0", "1000", 1_000)
    interface(tmp_path, "virtual", "-1", 5)
    (tmp_path / "lo").mkdir()
    async with SessionPool(SETTINGS, opener(MemorySession({}, "a"))) as pool:
        time = Time()
        watch = watch_of(pool, tmp_path, time)
        assert (watch.seen().cpu_share, watch.seen().interface_share) == (0.0, 0.0), "after a single look"
        time.now, time.cpu, time.machine = 2.0, 1.0, (3.0, 4.0)
        interface(tmp_path, "eth0", "1000", 1_000 + 125_000_000)
        watch.look()
        seen = watch.seen()
        assert (seen.cpu_share, seen.machine_share, seen.interface_share) == (0.5, 0.75, 0.5)
        for _ in range(40):
            time.now += 0.2
            watch.look()
        assert watch.seen().cpu_share == 0.0, "what was long ago does not count"


async def test_a_window_is_full_where_requests_wait_for_it(tmp_path):
    """Seen at the addresses that are in use, with the way as it was felt."""

    class Feeling(MemorySession):
        async def feel(self):
            return Felt(0.001, 0.004, 0.005)

    session = Feeling({b"f": 9}, "a")
    session.held = []
    mount = Mount(addresses=("a",), address="a")
    async with SessionPool(SETTINGS, opener(session)) as pool, pool.lend(mount) as lent:
        time = Time()
        watch = watch_of(pool, tmp_path, time)
        time.now = 1.0
        watch.look()
        assert watch.seen().addresses[0].full_share == 0.0
        for _ in range(2 * session.window.calls):
            lent.read(ReadRequest(b"f", b"", 0, 9, lambda *_: None, None))
        for _ in range(3):
            time.now += 0.2
            watch.look()
        assert watch.seen().addresses[0].full_share == 0.75
        watch._feel()
        await watch._felt[next(iter(watch._felt))].task
        seen = watch.seen().addresses[0]
        assert (seen.way_idle_seconds, seen.way_seconds, seen.null_seconds) == (0.001, 0.004, 0.005)
        assert watch.ways() == {"a": (0.001, 0.004)}
        lent.held = None


def test_a_machine_that_tells_nothing_is_not_known(tmp_path):
    """No /proc, no /sys, or nonsense in them."""
    assert machine_times(str(tmp_path / "none")) == (0.0, 0.0)
    (tmp_path / "stat").write_text("cpu  x y z\n")
    assert machine_times(str(tmp_path / "stat")) == (0.0, 0.0)
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 0 0\n")
    busy, whole = machine_times(str(tmp_path / "stat"))
    assert busy / whole == 0.2
    assert interface_speeds(tmp_path / "none") == {}
