"""Fails where a function's cyclomatic complexity is above 15; there are no exceptions.

usage: python -m scripts.complexity PATH…
"""

from __future__ import annotations

import sys
from pathlib import Path

from radon.complexity import cc_visit

MAX_COMPLEXITY = 15


def too_complex(path: Path) -> list[str]:
    """``FILE:LINE NAME COMPLEXITY`` of each function above the limit."""
    found = []
    for block in cc_visit(path.read_text(encoding="utf-8")):
        for part in [block, *getattr(block, "closures", [])]:
            if part.letter in "FM" and part.complexity > MAX_COMPLEXITY:
                found.append(f"{path}:{part.lineno} {part.fullname} {part.complexity}")
    return found


def main() -> int:
    paths = [Path(one) for one in sys.argv[1:]]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    found = [line for file in files for line in too_complex(file)]
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} functions are above a complexity of {MAX_COMPLEXITY}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
