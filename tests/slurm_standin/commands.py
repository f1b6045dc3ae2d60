"""A stand-in for Slurm's commands: sbatch, squeue, scancel and sacct over a directory, with real processes behind the elements.

It is called through a link of each command's name, and finds its directory in ``SLURM_CONF``. It refuses options that
it does not know. ``fail`` in the directory, if there is such a file, is what every command complains of; ``accounts``
makes sacct answer; ``forget`` makes squeue leave out what has ended.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PLACE = Path(os.environ.get("SLURM_CONF", "/nowhere"))
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "PREEMPTED", "NODE_FAIL", "TIMEOUT")
KNOWN = {
    "sbatch": {
        "array",
        "chdir",
        "cpus-per-task",
        "export",
        "job-name",
        "no-requeue",
        "ntasks",
        "output",
        "parsable",
        "propagate",
    }
    | {"test-only", "partition", "account", "constraint", "time", "mem", "qos"},
    "squeue": {"noheader", "array", "states", "name", "user", "Format"},
    "scancel": {"quiet", "batch", "signal"},
    "sacct": {"noheader", "allocations", "parsable2", "format", "jobs"},
}


@contextmanager
def cluster():
    """The state, locked, and written back at the end."""
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = PLACE / "state.json"
        state = json.loads(path.read_text()) if path.exists() else {"next": 1, "elements": {}}
        schedule(state)
        yield state
        schedule(state)
        path.write_text(json.dumps(state))


def schedule(state):
    """Notes what has ended, and starts what there is room for."""
    slots = int((PLACE / "slots").read_text())
    for name, one in state["elements"].items():
        done = PLACE / f"{name}.status"
        if one["state"] == "RUNNING" and done.exists():
            one["status"] = int(done.read_text())
            becomes = PLACE / f"{name}.becomes"
            one["state"] = becomes.read_text() if becomes.exists() else "FAILED" if one["status"] else "COMPLETED"
            one["ended"] = int(time.time())
    running = sum(one["state"] == "RUNNING" for one in state["elements"].values())
    for name, one in state["elements"].items():
        if one["state"] == "PENDING" and running < slots:
            running += 1
            one.update(state="RUNNING", started=int(time.time()), pid=start(name, one))


def start(name, one):
    """Runs the element's script below a process that waits for it."""
    array, _, index = name.partition("_")
    variables = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index, "SLURMD_NODENAME": f"node{int(index) % 2}"}
    said = one["output"].replace("%A", array).replace("%a", index).replace("%x", one["name"])
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return int(pipe.read())
    os.setsid()
    with open(os.devnull, "r+b") as nothing, open(said, "ab") as log:
        for number in range(3):
            os.dup2(nothing.fileno(), number)
        child = subprocess.Popen(
            ["/bin/sh", one["script"]], stdout=log, stderr=log, cwd=one["chdir"], env=one["environment"] | variables
        )
    os.write(writing, str(child.pid).encode())
    os.closerange(3, 64)
    code = child.wait()
    (PLACE / f"{name}.status.new").write_text(str(-code if code < 0 else code << 8))
    (PLACE / f"{name}.status.new").rename(PLACE / f"{name}.status")
    os._exit(0)


def say(line):
    sys.stdout.write(f"{line}\n")


def sbatch(options, _names):
    if options.get("partition") == "nosuch":
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
    script = sys.stdin.read()
    assert script.startswith("#!"), script
    if "test-only" in options:
        return
    last = int(re.fullmatch(r"0-(\d+)", options["array"])[1])
    with cluster() as state:
        array = state["next"]
        state["next"] += last + 1
        path = PLACE / f"{array}.sh"
        path.write_text(script)
        assert options["export"] == "ALL"
        for index in range(last + 1):
            state["elements"][f"{array}_{index}"] = {
                "name": options["job-name"],
                "state": "PENDING",
                "script": str(path),
                "environment": dict(os.environ),
                "output": options["output"],
                "chdir": options["chdir"],
                "status": 0,
                "started": 0,
                "ended": 0,
            }
        say(array)


def squeue(options, _names):
    columns = [one.partition(":") for one in options["Format"].split(",")]
    with cluster() as state:
        for name, one in state["elements"].items():
            if one["name"] != options["name"] or options["user"] != str(os.geteuid()):
                continue
            if one["state"] in ENDED and (PLACE / "forget").exists():
                continue
            cells = {
                "JobArrayID": name,
                "State": one["state"],
                "exit_code": one["status"],
                "StartTime": one["started"] or "N/A",
                "EndTime": one["ended"] or "NONE",
                "Reason": "Resources" if one["state"] == "PENDING" else "None",
            }
            say("".join(str(cells[column])[: int(width)].ljust(int(width)) for column, _, width in columns))


def sacct(options, _names):
    if not (PLACE / "accounts").exists():
        sys.exit("Slurm accounting storage is disabled")
    with cluster() as state:
        for name in options["jobs"].split(","):
            one = state["elements"][name]
            shown = "CANCELLED by 0" if one["state"] == "CANCELLED" else one["state"]
            status = f"{one['status'] >> 8}:{one['status'] & 127}"
            times = (str(one[key] or "Unknown") for key in ("started", "ended"))
            say("|".join([name, shown, status, *times]))


def scancel(options, names):
    """Without a signal: queued elements are cancelled, running ones told to end. With one, these get it."""
    with cluster() as state:
        for name in names:
            one = state["elements"][name]
            if one["state"] == "PENDING" and "signal" not in options:
                one.update(state="CANCELLED", ended=int(time.time()))
            elif one["state"] == "RUNNING":
                if "signal" not in options:
                    (PLACE / f"{name}.becomes").write_text("CANCELLED")
                os.kill(one["pid"], getattr(signal, f"SIG{options.get('signal', 'TERM')}"))


def main():
    program = Path(sys.argv[0]).name
    options, names = {}, []
    for word in sys.argv[1:]:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            if name not in KNOWN[program]:
                sys.exit(f"{program}: unrecognized option '{word}'")
            options[name] = value
        else:
            names.append(word)
    complaint = PLACE / "fail"
    if complaint.exists():
        sys.exit(complaint.read_text())
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "sacct": sacct}[program](options, names)


if __name__ == "__main__":
    main()
