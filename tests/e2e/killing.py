"""Runs a manager and three workers over a shared broker, kills some of them without warning, and reads the totals."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import NO_IMDS
from tests.servers.postgres import PostgresServer

LEASE_SECONDS = 4
"""Short, so that what a killed process held comes back soon."""


@dataclass(frozen=True)
class Tree:
    files: int
    bytes: int


def make_tree(root: Path, directories: int, files_each: int, large: int, large_bytes: int) -> Tree:
    """Small files of a few KB in two levels of directories, and sparse large ones."""
    total = 0
    sizes = random.Random(1)
    for number in range(directories):
        directory = root / f"group{number // 50:02d}" / f"dir{number:04d}"
        directory.mkdir(parents=True)
        for file in range(files_each):
            size = sizes.randrange(1, 4096)
            (directory / f"frame.{file:04d}.exr").write_bytes(b"x" * size)
            total += size
    for number in range(large):
        with (root / f"large{number}.abc").open("wb") as file:
            file.truncate(large_bytes)
        total += large_bytes
    return Tree(directories * files_each + large, total)


class Fleet:
    """The processes of one run."""

    def __init__(self, environment: dict[str, str], broker: str, logs: Path) -> None:
        self.environment = environment
        self.broker = broker
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str, name: str, *more: str) -> None:
        """``cachewarmer manager`` or ``worker``, with further options."""
        self.launch(name, [sys.executable, "-m", "cachewarmer", kind, "--broker", self.broker, "--name", name, *more])

    def launch(self, name: str, command: Sequence[str]) -> None:
        """Any command, its output in the log ``name``."""
        log = (self.logs / f"{name}.log").open("ab")
        with log:
            self.running[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(25)
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Site:
    """A shared broker."""

    broker: str
    environment: Mapping[str, str]
    """What its processes need to sign in there."""
    restart: Callable[[], None]
    """Kills its server, and starts it again."""


def azure_site(connection: str, prefix: str) -> Site:
    """A storage account by its connection string."""
    account = connection.partition("AccountName=")[2].partition(";")[0]

    def restart() -> None:
        raise NotImplementedError

    return Site(f"azure://{account}/{prefix}", {"AZURE_STORAGE_CONNECTION_STRING": connection}, restart)


def postgres_site(server: PostgresServer) -> Site:
    """A PostgreSQL server of our own."""

    def restart() -> None:
        server.stop()
        time.sleep(0.5)
        server.start()

    return Site(server.url, {}, restart)


@contextlib.contextmanager
def fleet(site: Site, work: Path, *, workers: int = 3) -> Iterator[Fleet]:
    """One manager and three workers; or with ``workers=0`` nothing yet."""
    config = work / "config.toml"
    config.write_text(f"[lease]\nlease_seconds = {LEASE_SECONDS}\npoll_seconds = 0.5\n[nfs]\nwindow_calls = 8\n")
    environment = os.environ | {**site.environment, "CACHEWARMER_CONFIG": str(config), "CACHEWARMER_IMDS_URL": NO_IMDS}
    started = Fleet(environment, site.broker, work)
    try:
        if workers:
            started.start("manager", "manager1")
        for number in range(workers):
            started.start("worker", f"worker{number + 1}")
        yield started
    finally:
        started.stop()


def _files_read(running: Fleet) -> int:
    """Files that have a receipt, over all jobs: somebody is at work by then."""
    asked = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "status", "--json", "--broker", running.broker],
        env=running.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return sum(job["files"] for job in json.loads(asked.stdout)["jobs"]) if asked.returncode == 0 else 0


def warm_under_kills(
    site: Site, target: str, work: Path, seed: int, *, kills: int = 1, restarts: int = 0
) -> dict[str, object]:
    """Submits a job, kills a worker and then the manager at random moments (each replaced), and returns the report.

    ``restarts``: how often the broker's server is killed before that; the report tells how often it was while the job ran.
    """
    moments = random.Random(seed)
    with fleet(site, work) as running:
        submitted = subprocess.Popen(
            [sys.executable, "-m", "cachewarmer", "submit", target, "--broker", running.broker, "--wait", "--json"],
            env=running.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        restarted = 0
        while restarts and submitted.poll() is None and not _files_read(running):
            time.sleep(0.1)
        while restarted < restarts and submitted.poll() is None:
            time.sleep(moments.uniform(0.2, 1.0))
            site.restart()
            restarted += 1
        for number in range(kills):
            time.sleep(moments.uniform(0.5, 3.0))
            victim = moments.choice([name for name in running.running if name.startswith("worker")])
            running.kill(victim)
            running.start("worker", f"{victim}-again{number}")
            time.sleep(moments.uniform(0.1, 2.0))
            manager = next(name for name in running.running if name.startswith("manager"))
            running.kill(manager)
            running.start("manager", f"{manager}-again{number}")
        output, _ = submitted.communicate(timeout=300)
        report = json.loads(output)
        report["exit_code"] = submitted.returncode
        report["restarts"] = restarted
        return report
