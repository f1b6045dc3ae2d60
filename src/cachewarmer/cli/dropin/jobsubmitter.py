"""``cachewarmer-jobsubmitter``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Selection
from cachewarmer.cli import submit
from cachewarmer.cli.dropin.common import DEBUGGING, STORAGE, broker_choice, run_flags
from cachewarmer.cli.dropin.flags import Flag, FlagSet, Values
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.verifying import Checking
from cachewarmer.errors import InvalidValue, UsageError

if TYPE_CHECKING:
    from cachewarmer.model import WarmJob

FLAGS = FlagSet(
    program="cachewarmer-jobsubmitter",
    summary="Submits a job to warm a directory tree.",
    example="cachewarmer-jobsubmitter -warmTargetMountAddresses 10.0.1.7,10.0.1.8 -warmTargetExportPath /data "
    "-warmTargetPath /tools -storageAccountName ACCOUNT -queueNamePrefix PREFIX -blockUntilWarm",
    flags=(
        DEBUGGING,
        Flag(name="warmTargetMountAddresses", required=True, text="mount addresses of the cache, separated by commas"),
        Flag(name="warmTargetExportPath", required=True, text="export of the cache"),
        Flag(name="warmTargetPath", required=True, text="directory or file below the export"),
        Flag(
            name="inclusionCsv",
            text="patterns of file names to read, separated by commas, with the syntax of Go's filepath.Match "
            "(default: all)",
        ),
        Flag(name="exclusionCsv", text="patterns of file names to leave out (default: none)"),
        Flag(name="maxFileSizeBytes", default="0", text="leave out larger files; 0: no limit"),
        Flag(name="uid", text="user id to read as (default: the setting of the workers, which is root unless changed)"),
        Flag(name="gid", text="group id to read as (default: as for -uid)"),
        Flag(
            name="jobName",
            text="name of the job; if a job of this name is warm or running, none is submitted (default: none)",
        ),
        *STORAGE,
        Flag(name="verify", switch=True, text="verify a sample when the job is done; implies -blockUntilWarm"),
        Flag(
            name="blockUntilWarm",
            switch=True,
            text="wait until the job is done, and exit with a code that gives its outcome",
        ),
    ),
)


def run(arguments: Sequence[str]) -> int:
    """Reads the flags and runs the command."""
    return run_flags(FLAGS, arguments, _submit)


def _submit(values: Values) -> int:
    from cachewarmer.cli.running import run

    chosen = parse(values)
    made = job(values)
    return run(lambda stop: submit.post([made], chosen, None, stop), chosen.output)


def parse(values: Values) -> submit.SubmitOptions:
    """The options for submitting the job that ``job`` makes: a TARGET could not express export and path separately."""
    return submit.SubmitOptions(
        targets=(),
        selection=Selection(allow_empty=True),  # as for the first CacheWarmer's jobs
        broker=broker_choice(values),
        output=Output(verbose=values.switch("enableDebugging")),
        checking=Checking(verify=values.switch("verify")),
        wait=values.switch("blockUntilWarm") or values.switch("verify"),
        once=bool(values.text("jobName")),
    )


def job(values: Values) -> WarmJob:
    """The job that the flags describe.

    Raises:
        UsageError: an address, a path, a pattern or a number is invalid.
    """
    from cachewarmer.filters import FileFilter
    from cachewarmer.model import FIRST_GENERATION, Access, WarmJob
    from cachewarmer.target import clean_path, parse_addresses

    try:
        made = WarmJob(
            access=Access(
                addresses=parse_addresses(",".join(values.csv("warmTargetMountAddresses"))),
                export=clean_path(values.text("warmTargetExportPath")),
                uid=_wire_id(values, "uid"),
                gid=_wire_id(values, "gid"),
            ),
            wanted=replace(
                FIRST_GENERATION,
                include=values.csv("inclusionCsv"),
                exclude=values.csv("exclusionCsv"),
                max_file_bytes=max(0, values.number("maxFileSizeBytes")),
            ),
            warm_path=clean_path(values.text("warmTargetPath")),
            name=values.text("jobName"),
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error
    FileFilter.of(made.wanted)
    return made


def _wire_id(values: Values, flag: str) -> int:
    """A user or group id; -1 if it is not given or negative. Raises ``UsageError`` if it is too large."""
    from cachewarmer.wire import MAX_ID

    number = values.number(flag, -1)
    if number > MAX_ID:
        raise UsageError(f"-{flag} must be a number from 0 to {MAX_ID}, not {number}")
    return max(-1, number)
