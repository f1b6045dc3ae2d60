"""Runs the checker spin over the model of the broker's protocol."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

MODEL = Path(__file__).parent.parent / "docs" / "model" / "broker.pml"


class Checked(NamedTuple):
    """What spin found."""

    errors: int
    states: int
    complete: bool
    """Whether no depth or memory limit cut the search short."""
    output: str


def check(folder: Path, defines: str, *, liveness: bool) -> Checked:
    """Searches all states of the model with ``-D`` for each of ``defines``, for assertions or for endless runs."""
    if not (shutil.which("spin") and shutil.which("gcc")):
        pytest.skip("needs spin and gcc: scripts/packages.sh spin")
    given = [f"-D{one}" for one in defines.split()]
    compiled = ["-DCOLLAPSE", "-DMEMLIM=4096", *(["-DNFAIR=3"] if liveness else ["-DSAFETY", "-DNOCLAIM"])]
    subprocess.run(["spin", "-a", *given, MODEL], cwd=folder, check=True, capture_output=True, timeout=60)
    subprocess.run(["gcc", "-O2", "-w", *compiled, "-o", "pan", "pan.c"], cwd=folder, check=True, timeout=300)
    search = ["./pan", "-m200000", *(["-a", "-f"] if liveness else [])]
    output = subprocess.run(search, cwd=folder, check=False, capture_output=True, text=True, timeout=1800).stdout
    errors, states = re.search(r"errors: (\d+)", output), re.search(r"(\d\S*) states, stored", output)
    assert errors, output
    assert states, output
    cut = "Search not completed" in output or "depth too small" in output
    return Checked(int(errors[1]), int(float(states[1])), not cut, output)
