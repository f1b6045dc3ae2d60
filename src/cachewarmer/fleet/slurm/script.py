"""The batch script of a worker, and the environment that it gets. Pure.

Slurm shows the script and the command line of a job to administrators, but its environment only to its own user. So
whatever may hold a secret, such as the URL of the broker, is passed in the environment only.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

from cachewarmer.config import SlurmSettings
from cachewarmer.fleet.base import WorkerLaunch


def worker_environment(launch: WorkerLaunch, settings: SlurmSettings, shared: Mapping[str, str]) -> dict[str, str]:
    """The environment of the script without Slurm's own variables.

    ``shared`` are the variables of the manager that workers get too. With an environment file, the URL of the broker is
    left to that file.
    """
    made = {**shared, **launch.environment}
    if settings.environment_file:
        made.pop("CACHEWARMER_BROKER", None)
    else:
        made["CACHEWARMER_BROKER"] = launch.broker_url
    return made


def batch_script(launch: WorkerLaunch, settings: SlurmSettings) -> str:
    """The script of every element. It ends with ``exec`` of the worker, so that Slurm's signals reach the worker."""
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
    """The command that runs this program again."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "cachewarmer"]


def array_options(settings: SlurmSettings, workers: int) -> Sequence[str]:
    """The options of sbatch for an array of this many workers; those of the site come last, so that they prevail."""
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
