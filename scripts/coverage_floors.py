"""Reads ``coverage json`` and fails where a room is covered less than its floor.

usage: python -m scripts.coverage_floors coverage.json

The floors stand just below what is measured, lines and branches together. Raise them when coverage rises; where it falls,
write the missing test instead.
"""

from __future__ import annotations

import json
import sys

FLOORS = {
    "rpc/": 93.0,
    "planning/": 96.0,
    "warming/": 95.0,
    "broker/": 94.0,
    "fleet/policy.py": 99.0,
}
PACKAGE = "src/cachewarmer/"


def covered_percent(files: dict[str, dict[str, dict[str, int]]], room: str) -> float:
    """Of the lines and branches of a room."""
    sums = [file["summary"] for path, file in files.items() if path.startswith(PACKAGE + room)]
    done = sum(one["covered_lines"] + one["covered_branches"] for one in sums)
    whole = sum(one["num_statements"] + one["num_branches"] for one in sums)
    return 100 * done / whole if whole else 0.0


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        files = json.load(file)["files"]
    below = 0
    for room in sorted({path.removeprefix(PACKAGE).split("/")[0] for path in files if path.startswith(PACKAGE)}):
        name = f"{room}/" if not room.endswith(".py") else room
        if name not in FLOORS:
            print(f"{covered_percent(files, name):6.1f} %          {name}")
    for room, floor in FLOORS.items():
        percent = covered_percent(files, room)
        print(f"{percent:6.1f} % of {floor:4.1f}  {room}{'' if percent >= floor else '  BELOW ITS FLOOR'}")
        below += percent < floor
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
