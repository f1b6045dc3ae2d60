"""The final report, in a form that fits a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachewarmer.cli.text import columns, duration, problem_line, shorten, size
from cachewarmer.paths import printable

MOST_PATHS = 5
BAR = 30
SUMMED = (
    "files",
    "bytes",
    "directories",
    "failed_files",
    "vanished_files",
    "excluded_files",
    "skipped_files",
    "seconds",
    "poisoned_items",
    "calls",
    "scanned_files",
    "scanned_bytes",
)
WORST = ("failed", "cancelled", "scanning", "warming", "queued", "paused", "completed_with_errors", "completed")


def job_lines(report: dict[str, Any]) -> list[str]:
    """The report of one job, as ``JobStatus.report`` gives it."""
    took = report["seconds"]
    state = report["state"].replace("_", " ")
    lines = [
        f"{printable(report['target'])}: {state}" + (f" ({printable(report['reason'])})" if report["reason"] else "")
    ]
    lines.append(
        f"  {report['files']:,} files, {size(report['bytes'])} in {report['directories']:,} directories, {duration(took)}"
        f" ({report['files_per_second']:,.0f} files/s, {size(report['bytes_per_second'])}/s)"
    )
    rest = [
        f"{report[key]:,} {word}"
        for key, word in (
            ("failed_files", "failed"),
            ("vanished_files", "vanished"),
            ("excluded_files", "excluded"),
            ("skipped_files", "skipped (links and special files)"),
        )
        if report[key]
    ]
    if rest:
        lines.append("  " + ", ".join(rest))
    lines += histogram_lines(report["histogram"])
    if report["slowest"]:
        lines.append("  slowest:")
        room = columns() - 16
        lines += [
            f"    {one['seconds']:7.3f} s  {shorten(one['path'], room)}" for one in report["slowest"][:MOST_PATHS]
        ]
    if report["errors"]:
        lines.append("  could not be warmed:")
        lines += problem_lines([(one["path"], one["error"]) for one in report["errors"]])
        if report["failed_files"] > MOST_PATHS:
            lines.append(f"    … {report['failed_files'] - MOST_PATHS:,} more; --json names up to 100")
    return lines


def problem_lines(errors: Sequence[tuple[str, str]]) -> list[str]:
    """The first of the paths that failed, each with its reason, a line each."""
    room = columns() - 4
    return [f"    {problem_line(path, error, room)}" for path, error in errors[:MOST_PATHS]]


def histogram_lines(histogram: Sequence[dict[str, int]]) -> list[str]:
    """Files by size, a factor of 16 a line."""
    groups: dict[int, int] = {}
    for row in histogram:
        bits = (row["below"] - 1).bit_length()
        groups[-(-bits // 4) if bits else 0] = groups.get(-(-bits // 4) if bits else 0, 0) + row["files"]
    most = max(groups.values(), default=0)
    lines = []
    for group, files in sorted(groups.items()):
        label = "empty" if group == 0 else f"< {size(1 << (4 * group))}"
        lines.append(f"  {label:>12} {files:>12,} {'█' * max(1, round(BAR * files / most))}")
    return lines


def combine(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One document for several jobs: the sums under the usual keys, and each report in ``jobs``."""
    if len(reports) == 1:
        return reports[0]
    whole: dict[str, Any] = {key: sum(report[key] for report in reports) for key in SUMMED}
    seconds = whole["seconds"]
    whole |= {
        "job": ",".join(report["job"] for report in reports),
        "state": min((report["state"] for report in reports), key=WORST.index),
        "files_per_second": round(whole["files"] / seconds, 3) if seconds else 0.0,
        "bytes_per_second": round(whole["bytes"] / seconds, 3) if seconds else 0.0,
        "errors": [error for report in reports for error in report["errors"]],
        "slowest": sorted((one for report in reports for one in report["slowest"]), key=lambda one: -one["seconds"])[
            :10
        ],
        "workers": [worker for report in reports for worker in report["workers"]],
        "jobs": list(reports),
    }
    return whole
