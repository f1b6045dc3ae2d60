"""What this machine tells of its processors and its network interfaces. Where it tells nothing, that is not known."""

from __future__ import annotations

import os
from pathlib import Path

INTERFACES = Path("/sys/class/net")
MOST_INTERFACES = 64


def busy_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The share of all processors that was in use between two ``machine_times``; 0 if unknown."""
    whole = after[1] - before[1]
    return (after[0] - before[0]) / whole if whole > 0 else 0.0


def machine_times(path: str = "/proc/stat") -> tuple[float, float]:
    """Seconds that all processors were busy, and were there in all (proc(5)); zeros where there is no such file."""
    try:
        with open(path, "rb") as file:
            numbers = [int(one) for one in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    if len(numbers) < 5:
        return 0.0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(numbers) - numbers[3] - numbers[4]) / ticks, sum(numbers) / ticks


def interface_speeds(where: Path = INTERFACES) -> dict[str, float]:
    """Bits per second of each network interface that tells its speed (sysfs-class-net); a virtual one may not."""
    try:
        names = sorted(os.listdir(where))[:MOST_INTERFACES]
    except OSError:
        return {}
    speeds = {name: 1e6 * _number(where / name / "speed") for name in names}
    return {name: speed for name, speed in speeds.items() if speed > 0}


def received(name: str, where: Path = INTERFACES) -> int:
    """Bytes that came in at an interface since the machine was started."""
    return _number(where / name / "statistics/rx_bytes")


def _number(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return 0
