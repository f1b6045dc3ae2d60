"""The batch script of a worker, and the environment that it gets. Pure.

Slurm shows a job's script and command line to administrators, and keeps the environment to the job's own user: so what
may hold a secret, such as the broker's URL, is in the environment alone.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

from cachewarmer.config import SlurmSettings
from cachewarmer.fleet.base import WorkerLaunch


def worker_environment(launch: WorkerLaunch, settings: SlurmSettings, shared: Mapping[str, str]) -> dict[str, str]:
    """What the script gets beside the variables of Slurm itself; ``shared`` are the manager's own that are for workers."""
    made = {**shared, **launch.environment}
    if settings.environment_file:
        made.pop("CACHEWARMER_BROKER", None)
    else:
        made["CACHEWARMER_BROKER"] = launch.broker_url
    return made


def batch_script(launch: WorkerLaunch, settings: SlurmSettings) -> str:
    """The script of every element: it becomes the worker, so that Slurm's signals reach it."""
    program = [settings.program] if settings.program else own_program()
    options = ["--exit-when-idle", f"{settings.worker_idle_seconds:g}", *launch.local_options]
    if launch.storage_resource_group:
        options += ["--storage-resource-group", launch.storage_resource_group]
    lines = ["#!/bin/sh"]
    if settings.environment_file:
        quoted = shlex.quote(settings.environment_file)
        lines += ["set -a", f". {quoted} || exit 2", "set +a"]
    if settings.setup:
        lines.append(settings.setup)
    name = '"${SLURMD_NODENAME}-${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"'
    lines.append(f"exec {shlex.join([*program, 'worker', *options])} --name {name}")
    return "\n".join(lines) + "\n"


def own_program() -> list[str]:
    """How this very program is called again."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "cachewarmer"]


def array_options(settings: SlurmSettings, workers: int) -> Sequence[str]:
    """The options of sbatch for an array of this many workers; the site's own come last, and so prevail."""
    log = f"{settings.log_directory.rstrip('/')}/%x.%A_%a.log" if settings.log_directory else "/dev/null"
    known = {
        "--account": settings.account,
        "--partition": settings.partition,
        "--constraint": settings.constraint,
        "--time": settings.time_limit,
        "--mem": settings.memory,
    }
    return [
        f"--array=0-{workers - 1}",
        "--ntasks=1",
        f"--cpus-per-task={settings.cpus}",
        "--no-requeue",
        "--propagate=NONE",  # the limits of the manager's service are for the manager
        "--chdir=/tmp",
        f"--output={log}",
        *(f"{name}={value}" for name, value in known.items() if value),
        *settings.options,
    ]
