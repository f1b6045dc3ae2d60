"""Tables and plots of ``docs/benchmarks.md`` that a benchmark writes there by itself, between two comments that name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def plot(title: str, across: str, places: Sequence[object], up: str, lines: Sequence[Sequence[float]]) -> str:
    """A chart in Mermaid's language, which is drawn where the page is shown."""
    most = max(max(line) for line in lines)
    drawn = "\n".join(f"  line [{', '.join(f'{value:.0f}' for value in line)}]" for line in lines)
    names = ", ".join(f'"{place}"' for place in places)
    return (
        f'```mermaid\nxychart-beta\n  title "{title}"\n  x-axis "{across}" [{names}]\n'
        f'  y-axis "{up}" 0 --> {most * 1.05:.0f}\n{drawn}\n```'
    )


def write(name: str, text: str) -> None:
    """Replaces what stands on the page between the comments of a benchmark."""
    begin, end = f"<!-- benchmarks.{name}: begin -->", f"<!-- benchmarks.{name}: end -->"
    page = PAGE.read_text()
    before, found, rest = page.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise SystemExit(f"{PAGE.name} has no section for {name}: {begin} … {end}")
    PAGE.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
