"""How near ``cachewarmer verify`` comes to the truth: trees that are warm to a known part, idle and beside other readers.

``juicefs``: a JuiceFS mount whose object store is 20 ms away; the truth is what ``juicefs warmup --check`` says, which
verify asks by itself (column *asked*), and which ``--no-ask`` keeps it from asking. ``knfsd``: a Linux re-export in an emulated machine before an NFS server 40 ms away;
the truth is what READ calls have fetched from that server, by a proxy that counts them.

usage: python -m benchmarks.verified [juicefs] [knfsd]
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.kernel.guest import HOST, guest
from tests.kernel.origin import Counted, counting
from tests.servers.ganesha import ganesha
from tests.servers.juicefs import juicefs, served_folder

FRACTIONS = (0.0, 0.25, 0.5, 0.9, 0.99, 1.0)
SIZES = (8_000, 60_000, 150_000, 300_000)
FILES, OTHERS = 500, 120
ONE_WAY_SECONDS = 0.01
LEAST_APART = 0.05
NFS, MOUNTD = 2049, 20048


class Cache(NamedTuple):
    """A cache with two trees: ``tree``, and ``other`` for those who read beside."""

    name: str
    target: Callable[[str], str]
    """TARGET of a directory."""
    warm_to: Callable[[Sequence[str]], float]
    """Makes all cold, then these files of the tree warm; returns what fraction of it is warm by another's count."""
    options: tuple[str, ...]
    asked: tuple[str, ...] | None = None
    """Those with which it is asked instead; None: it can't be."""


def make_trees(root: Path) -> dict[str, int]:
    """Files of several sizes in twelve directories; returns the bytes of each of the tree."""
    chance = random.Random(1)
    sizes = {f"d{number % 12}/f{number}": chance.choice(SIZES) for number in range(FILES)}
    others = {f"d{number % 3}/f{number}": chance.choice(SIZES) for number in range(OTHERS)}
    for name, some in (("tree", sizes), ("other", others)):
        for path, size in some.items():
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_bytes(os.urandom(size))
    return sizes


def command(*arguments: str, stdin: str = "") -> tuple[int, str]:
    """Runs the program; its exit code and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, done.stdout


@contextlib.contextmanager
def juicefs_cache() -> Iterator[tuple[Cache, dict[str, int]]]:
    """JuiceFS over WebDAV behind a slow line."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verified-")))
        folder = place / "store"
        folder.mkdir()
        port = stack.enter_context(served_folder(folder))
        far = stack.enter_context(counting("127.0.0.1", port))
        volume = stack.enter_context(juicefs(f"http://127.0.0.1:{far.port}/"))
        sizes = make_trees(volume.mount)
        os.environ["PATH"] = f"{volume.program.parent}:{os.environ['PATH']}"  # verify asks by the command
        far.delay_seconds = ONE_WAY_SECONDS
        names = place / "names"

        def warm_to(chosen: Sequence[str]) -> float:
            volume.evict()
            names.write_text("".join(f"{volume.mount}/tree/{name}\n" for name in chosen))
            if chosen:
                subprocess.run([volume.program, "warmup", "-f", names], check=True, capture_output=True, timeout=120)
            return volume.cached_fraction(volume.mount / "tree")

        yield Cache("JuiceFS", lambda name: str(volume.mount / name), warm_to, ("--no-ask",), ()), sizes


@contextlib.contextmanager
def knfsd_cache() -> Iterator[tuple[Cache, dict[str, int]]]:
    """A knfsd re-export."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verified-")))
        root.chmod(0o755)
        sizes = make_trees(root)
        server = stack.enter_context(ganesha(root))
        far = stack.enter_context(counting("127.0.0.1", server.nfs_port, delay_seconds=2 * ONE_WAY_SECONDS))
        options = f"vers=3,nolock,ro,proto=tcp,mountproto=tcp,port={far.port},mountport={server.mount_port},actimeo=600"
        machine = stack.enter_context(guest("verified", memory_mib=1024, forward=(NFS, MOUNTD)))
        machine.run(
            f"mkdir -p /srv/cache && mount -t nfs -o {options} {HOST}:{server.export} /srv/cache && "
            "rpcbind -w && modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd && "
            "echo '/srv/cache *(ro,fsid=1,insecure,no_root_squash,no_subtree_check)' >/etc/exports && "
            f"exportfs -ar && rpc.nfsd 16 && rpc.mountd -p {MOUNTD}"
        )
        ports = f"nfsport={machine.ports[NFS]}&mountport={machine.ports[MOUNTD]}"

        def target(name: str) -> str:
            return f"nfs://127.0.0.1/srv/cache/{name}?{ports}"

        def warm_to(chosen: Sequence[str]) -> float:
            machine.run("sync; echo 3 >/proc/sys/vm/drop_caches")
            fetched = Counted(far)
            if chosen:
                command("warm", target("tree"), "--files-from", "-", "-q", stdin="\n".join(chosen))
            return fetched.read_bytes / sum(sizes.values())

        yield Cache("knfsd", target, warm_to, ("--transport", "nfs")), sizes


@contextlib.contextmanager
def others(cache: Cache, *, reading: bool) -> Iterator[None]:
    """Reads the other tree again and again meanwhile, 4 calls at a time."""
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            command("warm", cache.target("other"), "--window", "4", "-q")

    thread = threading.Thread(target=read)
    if reading:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if reading:
            thread.join()


def chosen_files(sizes: dict[str, int], fraction: float) -> list[str]:
    """Files at random that make about so much of the bytes."""
    order = sorted(sizes)
    random.Random(f"{fraction}").shuffle(order)
    left = fraction * sum(sizes.values())
    chosen = []
    for name in order:
        if sizes[name] <= left + 1000:
            chosen.append(name)
            left -= sizes[name]
    return chosen


def measure(
    cache: Cache, sizes: dict[str, int], fraction: float, *, reading: bool
) -> tuple[float, str, dict[str, Any]]:
    """The truth, what verify says if it asks, and its document if it reads."""
    truth, asked = cache.warm_to(chosen_files(sizes, fraction)), ""
    with others(cache, reading=reading):
        if cache.asked is not None:
            _, said = command("verify", cache.target("tree"), "--json", *cache.asked)
            asked = f"{100 * json.loads(said)['warm_fraction']:.1f}"
        _, said = command("verify", cache.target("tree"), "--json", *cache.options)
    return truth, asked, json.loads(said)


def row(name: str, reading: bool, truth: float, asked: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    what = f"| {name} | {'beside readers' if reading else 'idle'} | {100 * truth:.1f} | {asked} | "
    if found["warm_fraction"] is None:
        return what + f"can't tell | | | {found['reason']} |"
    low, high = (100 * one for one in found["interval"])
    value = 100 * found["warm_fraction"]
    latency = found["latency_ms"]["second"]["p50"]
    off = value - 100 * truth
    mark = "" if abs(off) <= 100 * LEAST_APART else " (!)"
    return what + (
        f"{value:.1f} | {low:.1f} to {high:.1f} | {off:+.1f}{mark} | "
        f"{found['evidence']}, {latency:.2g} / {found['threshold_ms']:.2g} / {found['origin_ms']:.2g} ms |"
    )


def main() -> None:
    known = {"juicefs": juicefs_cache, "knfsd": knfsd_cache}
    print(
        "| cache | load | warm, % | asked, % | verify, % | its interval | off | told by; second read / border / origin |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in sys.argv[1:] or known:
        with known[name]() as (cache, sizes):
            for reading in (False, True):
                for fraction in FRACTIONS:
                    measured = measure(cache, sizes, fraction, reading=reading)
                    print(row(cache.name, reading, *measured), flush=True)


if __name__ == "__main__":
    main()
