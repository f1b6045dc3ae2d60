"""How a command ends: what it shows of its jobs, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cachewarmer.amounts import counted
from cachewarmer.cli.exit_codes import CANCELLED, ERROR, INCOMPLETE, INTERRUPTED, WARM
from cachewarmer.cli.failures import tell, without
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.verifying import Checking
from cachewarmer.cli.report import job_lines, scan_lines
from cachewarmer.cli.streams import show
from cachewarmer.model import JobState, JobStatus, Report, WarmJob
from cachewarmer.paths import printable

if TYPE_CHECKING:
    from cachewarmer.verification.found import Verified

NO_CHECKING = Checking()
CODES = {
    JobState.COMPLETED: WARM,
    JobState.COMPLETED_WITH_ERRORS: INCOMPLETE,
    JobState.CANCELLED: CANCELLED,
    JobState.FAILED: ERROR,
}


def show_json(document: Any) -> bool:
    """Writes the one document of ``--json``; whether it was written."""
    return show(json.dumps(document, indent=1))


def code_of(status: JobStatus, unfinished: int = INTERRUPTED) -> int:
    """The exit code of one job by its state; ``unfinished`` for one that continues."""
    return CODES.get(status.state, unfinished)


def finish(
    statuses: Sequence[JobStatus],
    output: Output,
    *,
    unfinished: int = INTERRUPTED,
    allow_empty: bool = False,
    verified: Sequence[Verified] = (),
    checking: Checking = NO_CHECKING,
) -> int:
    """Shows the outcome of the jobs, and gives the exit code: that of the worst; ``unfinished`` for one that continues.

    ``verified``: what was found of them afterwards, if they were verified.
    """
    reports = [_warned(Report.of_job(status), status.job, allow_empty=allow_empty) for status in statuses]
    _show_jobs(reports, output, verified, checking)
    for status in statuses:
        if status.state is JobState.FAILED:
            tell(failure_line(status))
    codes = [code_of(status, unfinished) for status in statuses]
    if not allow_empty and any(
        nothing_wanted(report, status.job) for report, status in zip(reports, statuses, strict=True)
    ):
        codes.append(INCOMPLETE)
    if verified:
        from cachewarmer.cli import verification

        codes.append(verification.code_of(verified, checking.sampling))
    return next((code for code in (INTERRUPTED, ERROR, CANCELLED, INCOMPLETE) if code in codes), WARM)


def _show_jobs(reports: Sequence[Report], output: Output, verified: Sequence[Verified], checking: Checking) -> None:
    if output.json:
        document = Report.combine(reports).document()
        if verified:
            from cachewarmer.cli.verification import document_of

            document["verify"] = document_of(verified, checking.sampling)
        show_json(document)
        _note_warnings(reports, output)
    elif not output.quiet:
        # Of a job that failed before it found anything there is nothing to report but why.
        shown = [one for one in reports if one.state != JobState.FAILED or one.scanned_files]
        if shown:
            show("\n".join(line for report in shown for line in job_lines(report)))
        if verified:
            from cachewarmer.cli.verification import all_lines

            show("\n".join(all_lines(verified, checking.sampling)))


def _note_warnings(reports: Sequence[Report], output: Output) -> None:
    """Says on stderr what a person would overlook in a document."""
    if not output.quiet:
        for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
            tell(printable(warning), warning=True)


def finish_scan(
    reports: Sequence[Report], jobs: Sequence[WarmJob], output: Output, *, interrupted: bool, allow_empty: bool
) -> int:
    """The same for scans: their report is all that they are for."""
    scanned = list(zip(reports, jobs, strict=False))  # an interrupted command has not come to all of its jobs
    reports = [_warned(report, job, allow_empty=allow_empty) for report, job in scanned]
    written = True
    if output.json:
        written = show_json(Report.combine(reports).document())
        _note_warnings(reports, output)
    elif not output.quiet:
        written = show("\n".join(line for report in reports for line in scan_lines(report)))
    if interrupted:
        return INTERRUPTED
    if not written:
        return ERROR
    empty = not allow_empty and any(nothing_wanted(report, job) for report, job in scanned)
    failed = any(report.failed_files or report.failed_directories for report in reports)
    return INCOMPLETE if failed or empty else WARM


def nothing_wanted(report: Report, job: WarmJob) -> str:
    """What to say of a job that is to read nothing: mostly a pattern or a list is wrong. Empty: there is something.

    A tree without a file isn't a mistake of the command line: the report tells of it.
    """
    if (
        report.scanned_files
        or report.failed_files
        or report.failed_directories
        or report.unchanged_files
        or not report.scan_finished
    ):
        return ""
    if not job.wanted.everything and (report.excluded_files or not job.has_file_list):
        return f"0 of {report.excluded_files:,} files passed the filters"
    return "the list names no file" if job.has_file_list and not report.vanished_files else ""


def _warned(report: Report, job: WarmJob, *, allow_empty: bool) -> Report:
    said = nothing_wanted(report, job)
    if not said:
        return report
    return replace(report, warnings=(said if allow_empty else f"{said} (--allow-empty accepts this)", *report.warnings))


def interrupted_line(status: JobStatus, shown_files: int, broker_url: str = "") -> str:
    """How to resume; and why fewer files are reported than were shown, which only counts whole items."""
    import shlex

    again = shown_files - status.total("files")
    read_again = f"; {counted(again, 'file')} of unfinished items will be read again" if again > 0 else ""
    broker = f" --broker {shlex.quote(broker_url)}" if broker_url else ""
    return f"interrupted{read_again}; resume with: cachewarmer warm --resume {status.job.job_id}{broker}"


def failure_line(status: JobStatus) -> str:
    """Why a job failed, in one printable line; what its target says already is not said again."""
    job = status.job
    address = job.access.addresses[0] if len(job.access.addresses) == 1 else ""
    return printable(f"{job.label}: {without(status.failure, address=address, subject=job.full_path)}")
