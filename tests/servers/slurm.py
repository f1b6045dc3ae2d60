"""A Slurm cluster of this machine: munged, slurmctld, and a slurmd for each of its nodes, on free ports of the loopback interface.

Debian's slurmd is built without ``--enable-multiple-slurmd`` in some releases; it is tried, not assumed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import free_port, stop, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sacct", "sinfo")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CPUS = 4
"""Processors that each node says it has: that many workers fit on it."""


@dataclass
class Slurm:
    """One running cluster; ``environment`` is what its commands need to find it."""

    place: Path
    nodes: tuple[str, ...]
    ports: list[int] = field(default_factory=list)
    environment_of_jobs: dict[str, str] = field(default_factory=dict)
    """What jobs get that ``ask`` submits."""
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.place / "slurm.conf"), "PATH": PATH}

    def start(self) -> None:
        self._configure()
        key = self.place / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        options = {
            "socket": "munge.socket",
            "log-file": "munge.log",
            "pid-file": "munge.pid",
            "seed-file": "munge.seed",
        }
        self._run(
            "munged",
            ["--foreground", "--force", f"--key-file={key}"]
            + [f"--{name}={self.place / file}" for name, file in options.items()],
            (self.place / "munge.socket").exists,
        )
        self.start_controller()
        for node in self.nodes:
            self._run(f"slurmd.{node}", ["-D", "-N", node], lambda: True)
        last = f"slurmd.{self.nodes[-1]}"
        wait_until(self._all_idle, self.children[last], "Slurm", self.place / "slurmctld.log", 60)

    def start_controller(self) -> None:
        """With the state that an earlier one left."""
        self._run("slurmctld", ["-D", "-i"], lambda: "UP" in self.ask("scontrol", "ping"))

    def stop_controller(self) -> None:
        stop(self.children.pop("slurmctld"))

    def _all_idle(self) -> bool:
        return self.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(self.nodes)

    def ask(self, program: str, *arguments: str) -> str:
        """What a command prints; empty where it fails."""
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, **self.environment, **self.environment_of_jobs},
            capture_output=True,
            check=False,
            timeout=60,
        )
        return done.stdout.decode() if done.returncode == 0 else ""

    def _configure(self) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.ports = [free_port() for _ in range(1 + len(self.nodes))]
        for name in ("state", "spool"):
            (self.place / name).mkdir()
        lines = [
            "ClusterName=warm",
            "SlurmctldHost=localhost(127.0.0.1)",
            f"SlurmctldPort={self.ports[0]}",
            f"SlurmUser={me}",
            f"SlurmdUser={me}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.place}/munge.socket",
            f"StateSaveLocation={self.place}/state",
            f"SlurmdSpoolDir={self.place}/spool/%n",
            f"SlurmctldPidFile={self.place}/slurmctld.pid",
            f"SlurmdPidFile={self.place}/slurmd.%n.pid",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SlurmdParameters=config_overrides",
            "ReturnToService=2",
            "SwitchType=switch/none",
            "MpiDefault=none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1,defer_batch=0,bf_interval=1",
            "KillWait=10",
            *(
                f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory=4000 State=UNKNOWN"
                for node, port in zip(self.nodes, self.ports[1:], strict=True)
            ),
            "PartitionName=warm Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
            "",
        ]
        (self.place / "slurm.conf").write_text("\n".join(lines))
        (self.place / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def _run(self, name: str, arguments: list[str], ready) -> None:
        log = self.place / f"{name}.log"
        with log.open("ab") as file:
            self.children[name] = subprocess.Popen(
                [name.partition(".")[0], *arguments],
                stdout=file,
                stderr=file,
                env={**os.environ, **self.environment},
                cwd=self.place,
            )
        wait_until(ready, self.children[name], name, log)

    def close(self) -> None:
        self.ask("scancel", "--quiet", "--full", "--signal=KILL", "--user", str(os.geteuid()))
        for child in reversed(self.children.values()):
            stop(child)


@contextlib.contextmanager
def slurm(nodes: tuple[str, ...] = ("warm1", "warm2")) -> Iterator[Slurm]:
    """Runs a cluster, and removes it."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    need(not missing, f"Slurm needs the packages slurm-wlm and munge (missing: {', '.join(missing)})")
    cluster = Slurm(Path(tempfile.mkdtemp(prefix="slurm-")), nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(cluster.place, ignore_errors=True)
