"""``cachewarmer scan``."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import INCOMPLETE, INTERRUPTED, WARM
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.report import histogram_lines, problem_lines
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.cli.text import columns, duration, shorten, size
from cachewarmer.errors import UsageError
from cachewarmer.model import ScanTotals, size_histogram
from cachewarmer.onemachine import ScanReport, scan
from cachewarmer.paths import printable


def run_scan(chosen: argparse.Namespace) -> int:
    """Counts each TARGET."""
    if chosen.files_from is not None and len(chosen.targets) != 1:
        raise UsageError("--files-from goes with exactly one TARGET")
    log_to_stderr(chosen.verbose, chosen.quiet)
    return run(lambda stop: _scan(chosen, stop))


async def _scan(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    progress = Progress(quiet=chosen.quiet)
    reports: list[tuple[str, ScanReport]] = []
    try:
        for target in chosen.targets:
            files = options.file_list(chosen) if chosen.files_from is not None else None
            job = options.job(chosen, target)
            found = await scan(job, options.settings(chosen), on_progress=progress.scanned, stop=stop, file_list=files)
            reports.append((job.label, found))
    finally:
        progress.close()
    documents = [document(label, report) for label, report in reports]
    if chosen.json:
        print_json(documents[0] if len(documents) == 1 else _sum(documents))
    elif not chosen.quiet:
        for (label, report), made in zip(reports, documents, strict=True):
            print("\n".join(_lines(label, report.totals, report.seconds, made)))
    if stop.is_set():
        return INTERRUPTED
    return INCOMPLETE if any(report.totals.failed_files for _, report in reports) else WARM


def document(label: str, report: ScanReport) -> dict[str, Any]:
    """The JSON of one scan."""
    totals = report.totals
    return {
        "target": label,
        "files": totals.files,
        "bytes": totals.bytes,
        "directories": totals.directories,
        "excluded_files": totals.excluded_files,
        "skipped_files": totals.skipped_files,
        "failed_files": totals.failed_files,
        "finished": totals.finished,
        "seconds": round(report.seconds, 3),
        "largest_files": [{"path": path, "bytes": count} for count, path in report.largest],
        "histogram": size_histogram(totals.histogram),
        "errors": [{"path": one.path, "error": one.error} for one in totals.errors],
    }


def _sum(documents: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("files", "bytes", "directories", "excluded_files", "skipped_files", "failed_files", "seconds")
    whole: dict[str, Any] = {key: sum(one[key] for one in documents) for key in keys}
    rows: dict[tuple[int, int], int] = {}
    for row in (row for one in documents for row in one["histogram"]):
        rows[row["from"], row["below"]] = rows.get((row["from"], row["below"]), 0) + row["files"]
    whole["histogram"] = [{"from": low, "below": high, "files": count} for (low, high), count in sorted(rows.items())]
    largest = [file for one in documents for file in one["largest_files"]]
    whole["largest_files"] = sorted(largest, key=lambda file: -file["bytes"])[:10]
    whole["errors"] = [error for one in documents for error in one["errors"]]
    whole["targets"] = documents
    return whole


def _lines(label: str, totals: ScanTotals, seconds: float, made: dict[str, Any]) -> list[str]:
    lines = [
        printable(label),
        f"  {totals.files:,} files, {size(totals.bytes)} in {totals.directories:,} directories, {duration(seconds)}",
    ]
    if totals.excluded_files or totals.skipped_files or totals.failed_files:
        lines.append(
            f"  {totals.excluded_files:,} excluded, {totals.skipped_files:,} skipped (links and special files), "
            f"{totals.failed_files:,} failed"
        )
    lines += histogram_lines(made["histogram"])
    if made["largest_files"]:
        lines.append("  largest:")
        room = columns() - 16
        lines += [f"    {size(one['bytes']):>10}  {shorten(one['path'], room)}" for one in made["largest_files"][:5]]
    return lines + problem_lines([(one.path, one.error) for one in totals.errors])
