"""Log messages at the start of a service, and at the beginning and end of a job of ``warm``."""

from __future__ import annotations

import logging
import os
import socket

from cachewarmer import __version__
from cachewarmer.about import about
from cachewarmer.amounts import counted, duration, size
from cachewarmer.broker.base import Broker
from cachewarmer.config import Settings
from cachewarmer.model import JobStatus, Report

log = logging.getLogger(__name__)


def say_start(what: str, broker: Broker, settings: Settings, *more: str) -> None:
    """Logs one line: the version, who this is, where its jobs are kept, how it reads, and ``more``, if not empty."""
    nfs = settings.nfs
    window = f"window auto (at most {nfs.window_max_calls} calls)" if nfs.window_auto else f"window {nfs.window_calls}"
    gentle = "gentle" if nfs.window_auto and nfs.gentle else ""
    parts = [f"broker {broker.shown}", window, gentle, *more]
    log.info(
        "cachewarmer %s starts: %s on %s, process %d; %s",
        __version__,
        what,
        socket.gethostname(),
        os.getpid(),
        "; ".join(part for part in parts if part),
        extra=about(version=__version__, broker=broker.shown),
    )


class JobLog:
    """Logs a line when a job begins, and one when it ends or is left unfinished. Call it with every status."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def __call__(self, status: JobStatus) -> None:
        job = status.job
        if job.job_id not in self._begun:
            self._begun.add(job.job_id)
            log.info("cachewarmer %s: job %s: %s", __version__, job.job_id, job.label, extra=about(job=job.job_id))

    def end(self, status: JobStatus) -> None:
        """Logs the line for the end of a job, from its last status."""
        job, report = status.job, Report.of_job(status).document()
        said = [counted(status.total("files"), "file"), size(status.total("bytes"))]
        said += [f"{counted(status.failed_files, 'file')} failed"] if status.failed_files else []
        text, seconds = ", ".join(said), duration(float(str(report["seconds"])))
        log.info("job %s is %s: %s in %s", job.job_id, status.state, text, seconds, extra=about(job=job.job_id))
