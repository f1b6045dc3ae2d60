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
    """Writes the document of ``--json``. Returns whether that worked."""
    return show(json.dumps(document, indent=1))


def code_of(status: JobStatus, unfinished: int = INTERRUPTED) -> int:
    """The exit code for the state of a job; ``unfinished`` is the code for a job that continues."""
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
    """Shows the outcome of jobs, and returns the exit code of the worst of them.

    ``unfinished`` is the code for a job that continues. ``verified`` is what a verification has found, if one was made.
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
        # For a job that failed before it found anything, there is nothing to report except the reason.
        shown = [one for one in reports if one.state != JobState.FAILED or one.scanned_files]
        if shown:
            show("\n".join(line for report in shown for line in job_lines(report)))
        if verified:
            from cachewarmer.cli.verification import all_lines

            show("\n".join(all_lines(verified, checking.sampling)))


def _note_warnings(reports: Sequence[Report], output: Output) -> None:
    """Repeats on stderr the warnings that a person would overlook in the document."""
    if not output.quiet:
        for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
            tell(printable(warning), warning=True)


def finish_scan(
    reports: Sequence[Report], jobs: Sequence[WarmJob], output: Output, *, interrupted: bool, allow_empty: bool
) -> int:
    """Shows the reports of scans, and returns the exit code. A report that can't be written is an error."""
    scanned = list(zip(reports, jobs, strict=False))  # an interrupted command has not got to all of its jobs
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
    """A warning about a job that has nothing to read, usually because of a wrong pattern or list; else empty.

    A tree without files is not a mistake in the command line: the report shows it anyway.
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
    """How to resume the job, and how many files will be read again.

    ``shown_files`` is how many files the progress line has shown, which includes those of unfinished items.
    """
    import shlex

    again = shown_files - status.total("files")
    read_again = f"; {counted(again, 'file')} of unfinished items will be read again" if again > 0 else ""
    broker = f" --broker {shlex.quote(broker_url)}" if broker_url else ""
    return f"interrupted{read_again}; resume with: cachewarmer warm --resume {status.job.job_id}{broker}"


def failure_line(status: JobStatus) -> str:
    """Why a job failed, in one printable line. Parts that the target already names are left out."""
    job = status.job
    address = job.access.addresses[0] if len(job.access.addresses) == 1 else ""
    return printable(f"{job.label}: {without(status.failure, address=address, subject=job.full_path)}")
