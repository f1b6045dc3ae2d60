"""Sets up the stand-in for Slurm's commands, and lets things happen to what it runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAM = Path(__file__).with_name("commands.py")


class Standin:
    """A cluster in a directory."""

    def __init__(self, place: Path, slots: int = 16) -> None:
        self.place = place
        (place / "bin").mkdir(parents=True)
        self.slots(slots)
        for name in ("sbatch", "squeue", "scancel", "sacct"):
            program = place / "bin" / name
            program.write_text(f"#!{sys.executable} -IS\n{PROGRAM.read_text()}")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.place), "PATH": f"{self.place / 'bin'}:{os.environ.get('PATH', '')}"}

    def slots(self, count: int) -> None:
        """So many elements run at a time; the others wait."""
        (self.place / "slots").write_text(str(count))

    def fail(self, complaint: str = "") -> None:
        """Every command fails with this from now on; none does without."""
        (self.place / "fail").unlink(missing_ok=True)
        if complaint:
            (self.place / "fail").write_text(complaint)

    def turn(self, name: str) -> None:
        """Switches ``accounts`` or ``forget`` on."""
        (self.place / name).touch()

    @property
    def elements(self) -> dict[str, dict[str, object]]:
        path = self.place / "state.json"
        return dict(json.loads(path.read_text())["elements"]) if path.exists() else {}

    def running(self) -> dict[str, int]:
        """The process of each element that runs."""
        return {
            name: int(str(one["pid"]))
            for name, one in self.elements.items()
            if one["state"] == "RUNNING" and not (self.place / f"{name}.status").exists()
        }

    def take(self, state: str = "") -> str:
        """Kills an element's process; it becomes ``state``, such as PREEMPTED."""
        name, pid = next(iter(self.running().items()))
        if state:
            (self.place / f"{name}.becomes").write_text(state)
        os.kill(pid, signal.SIGKILL)
        return name

    def close(self) -> None:
        for pid in self.running().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def standin(place: Path, slots: int = 16) -> Iterator[Standin]:
    """A cluster until the block ends."""
    made = Standin(place, slots)
    try:
        yield made
    finally:
        made.close()
