"""What ``cachewarmer-jobsubmitter`` does with its flags."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from cachewarmer.cli import options
from cachewarmer.cli.dropin_flags import broker_url, split_csv, whole_number
from cachewarmer.cli.run import log_to_stderr, run
from cachewarmer.cli.submit import post
from cachewarmer.errors import InvalidValue, UsageError
from cachewarmer.filters import FileFilter
from cachewarmer.model import FIRST_GENERATION, Access, WarmJob
from cachewarmer.target import clean_path, parse_addresses


def run_jobsubmitter(chosen: argparse.Namespace) -> int:
    """Posts one job; with ``-blockUntilWarm`` waits for it and exits with its outcome."""
    for flag in ("warmTargetMountAddresses", "warmTargetExportPath", "warmTargetPath"):
        if not getattr(chosen, flag):
            raise UsageError(f"-{flag} is needed")
    try:
        job = WarmJob(
            access=Access(
                addresses=parse_addresses(chosen.warmTargetMountAddresses),
                export=clean_path(chosen.warmTargetExportPath),
            ),
            wanted=replace(
                FIRST_GENERATION,
                include=tuple(split_csv(chosen.inclusionCsv)),
                exclude=tuple(split_csv(chosen.exclusionCsv)),
                max_file_bytes=whole_number(chosen, "maxFileSizeBytes"),
            ),
            warm_path=clean_path(chosen.warmTargetPath),
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error
    FileFilter(job.wanted.include, job.wanted.exclude)
    chosen.broker = broker_url(chosen)
    chosen.resource_group, chosen.account_key = chosen.storageAccountResourceGroup, ""
    chosen.wait, chosen.json, chosen.quiet = chosen.blockUntilWarm, False, False
    log_to_stderr(chosen.enableDebugging)
    return run(lambda stop: _submit(chosen, job, stop))


async def _submit(chosen: argparse.Namespace, job: WarmJob, stop: asyncio.Event) -> int:
    async with options.broker(chosen) as broker:
        return await post(broker, [job], None, chosen, stop)
