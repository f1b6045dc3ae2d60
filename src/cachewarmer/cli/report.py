"""The text of a report, in a form that fits on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cachewarmer.amounts import counted, duration, size
from cachewarmer.cli.bounds import bound_line
from cachewarmer.cli.colours import STATES, Shade, paint
from cachewarmer.cli.text import bandwidth, columns, problem_line, shorten
from cachewarmer.model import TOO_SHORT, JobState
from cachewarmer.paths import printable

if TYPE_CHECKING:
    from cachewarmer.model import PathError, Report

MOST_PATHS = 5
BAR = 30
COUNTED = (
    ("failed_files", "failed"),
    ("failed_directories", "not listed"),
    ("vanished_files", "vanished"),
    ("changed_files", "changed since the scan"),
    ("excluded_files", "excluded"),
    ("skipped_files", "skipped (links and special files)"),
    ("duplicates", "left out as duplicates"),
    ("unchanged_files", "left out as unchanged"),
)
"""Counts that are shown only if they are not 0."""
FAILED = ("failed_files", "failed_directories")


def job_lines(report: Report) -> list[str]:
    """The report of one job."""
    state = paint(report.state.replace("_", " "), STATES.get(report.state, Shade.PLAIN))
    reason = f" ({printable(str(report.failure))})" if report.failure else ""
    return [
        f"{printable(report.target)}: {state}{reason}",
        f"  {_found(report)}{_pace(report)}",
        *_beside_others(report),
        *([f"  {said}"] if (said := _bound(report)) else []),
        *_address_lines(report),
        *_details(report),
    ]


def _bound(report: Report) -> str:
    """What limited the rate; empty if nothing did, or if that is unknown."""
    return "too short to tell what bounded the rate" if report.bound_by == TOO_SHORT else bound_line(report.bound)


def _pace(report: Report) -> str:
    """How fast files were read; empty for a completed job that read none."""
    if not report.files and report.state == JobState.COMPLETED:
        return ""
    return f" ({report.files_per_second:,.0f} files/s, {size(report.bytes_per_second)}/s)"


def _beside_others(report: Report) -> list[str]:
    """The job's priority and bandwidth limit, as at most one line; none if they have their defaults."""
    priority = f"{report.priority} priority" if report.priority not in ("", "normal") else ""
    limit = bandwidth(report.bandwidth) if report.bandwidth.lowest else ""
    return [f"  {', '.join(part for part in (priority, limit) if part)}"] if priority or limit else []


def _address_lines(report: Report) -> list[str]:
    """A line for each address, if each of them is a separate cache."""
    return [
        f"  {printable(one.address)}: {counted(one.files, 'file')}, {size(one.bytes)}"
        + (f", {one.unchanged_files:,} unchanged" if one.unchanged_files else "")
        + (f", {one.failed_files:,} failed" if one.failed_files else "")
        + (f", {counted(one.failed_directories, 'directory')} not listed" if one.failed_directories else "")
        + ("" if one.complete else f": {paint('NOT WARM', Shade.BAD)}")
        for one in report.addresses
    ]


def scan_lines(report: Report) -> list[str]:
    """The report of one scan."""
    return [printable(report.target), f"  {_found(report)}", *_details(report)]


def _found(report: Report) -> str:
    within = counted(report.directories, "directory")
    if report.state == JobState.COMPLETED and report.scanned_files and not (report.files or report.vanished_files):
        return f"metadata of {counted(report.scanned_files, 'file')} in {within}, {duration(report.seconds)}"
    return f"{counted(report.files, 'file')}, {size(report.bytes)} in {within}, {duration(report.seconds)}"


def _details(report: Report) -> list[str]:
    """What the reports of jobs and scans have in common, below their first lines."""
    lines = []
    rest = [
        paint(_some(count, key, word), Shade.BAD if key in FAILED else Shade.PLAIN)
        for key, word in COUNTED
        if (count := getattr(report, key))
    ]
    if report.partial_files:
        left_out = size(report.left_out_bytes)
        rest.append(f"{counted(report.partial_files, 'file')} only in part ({left_out} not wanted)")
    if rest:
        lines.append("  " + ", ".join(rest))
    lines += [warning_line(warning) for warning in report.warnings]
    lines += histogram_lines(report.histogram)
    room = columns() - 16
    if report.largest:
        lines.append("  largest:")
        lines += [f"    {size(count):>10}  {shorten(path, room)}" for count, path in report.largest[:MOST_PATHS]]
    if report.slowest:
        lines.append("  slowest:")
        lines += [f"    {took:7.3f} s  {shorten(path, room)}" for path, took in report.slowest[:MOST_PATHS]]
    if report.errors:
        lines.append("  could not be listed:" if not report.job else "  could not be warmed:")
        lines += problem_lines(report.errors)
        if report.failed_files > MOST_PATHS:
            lines.append(f"    … {report.failed_files - MOST_PATHS:,} more; --json names up to 100")
    return lines


def _some(count: int, key: str, word: str) -> str:
    """A count and a word for it; only directories are named as such, since everything else is files."""
    return f"{counted(count, 'directory') if key == 'failed_directories' else f'{count:,}'} {word}"


def warning_line(warning: str) -> str:
    """A line with a warning about a job or a target."""
    return f"  {paint('warning:', Shade.WARNING)} {printable(warning)}"


def problem_lines(errors: Sequence[PathError]) -> list[str]:
    """A line for each of the first paths that failed, with the reason."""
    room = columns() - 4
    return [f"    {problem_line(one.path, one.error, room)}" for one in errors[:MOST_PATHS]]


def histogram_lines(histogram: Sequence[int]) -> list[str]:
    """Files by size, with a factor of 16 from line to line; entry *n* of ``histogram`` counts sizes of *n* bits."""
    groups: dict[int, int] = {}
    for bits, files in enumerate(histogram):
        if files:
            groups[-(-bits // 4)] = groups.get(-(-bits // 4), 0) + files
    most = max(groups.values(), default=0)
    lines = []
    for group, files in sorted(groups.items()):
        label = "empty" if group == 0 else f"< {size(1 << (4 * group))}"
        lines.append(f"  {label:>12} {files:>12,} {'█' * max(1, round(BAR * files / most))}")
    return lines
