"""Reports the end of a job: runs a command (``--on-end``) and posts the report to a URL (``--webhook``).

This never changes the outcome of the job: whatever fails here becomes one line in the log.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cachewarmer.blocking import in_daemon_thread
from cachewarmer.cli.exit_codes import INCOMPLETE, WARM
from cachewarmer.cli.outcome import code_of, nothing_wanted
from cachewarmer.errors import CacheWarmerError
from cachewarmer.model import Report

if TYPE_CHECKING:
    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus

log = logging.getLogger(__name__)

COMMAND_SECONDS = 60.0
"""How long the command may run before it is killed, together with what it has started."""
POST_SECONDS = 10.0
"""How long the server may be silent during one attempt."""
WEBHOOK_SECONDS = 60.0
"""How long all attempts to post may take together."""
WAITS = (1.0, 3.0)
"""Waiting times before the second and the third attempt, in seconds."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes after which another attempt may succeed."""


async def tell(status: JobStatus, *, command: tuple[str, ...], webhook: str, allow_empty: bool) -> None:
    """Reports the end of a job to the command and to the server at the same time; either may be empty. Failures are
    logged.
    """
    report = Report.of_job(status)
    code = code_of(status)
    if code == WARM and not allow_empty and nothing_wanted(report, status.job):
        code = INCOMPLETE
    document = json.dumps(report.document()).encode()
    job_id = status.job.job_id
    about = {"CACHEWARMER_JOB": job_id, "CACHEWARMER_STATE": str(status.state), "CACHEWARMER_EXIT_CODE": str(code)}

    async def by_command() -> None:
        if not command:
            return
        try:
            await in_daemon_thread(lambda: run_command(command, document, about, COMMAND_SECONDS))
        except Exception as error:  # noqa: BLE001  # a hook never harms the job
            log.warning("job %s: --on-end %s: %s", job_id, command[0], _reason(error))

    async def by_webhook() -> None:
        if not webhook:
            return
        try:
            async with asyncio.timeout(WEBHOOK_SECONDS):
                await in_daemon_thread(lambda: post(webhook, document))
        except Exception as error:  # noqa: BLE001
            log.warning("job %s: --webhook %s: %s", job_id, shown(webhook), _reason(error))

    await asyncio.gather(by_command(), by_webhook())


async def status_of(broker: Broker, job_id: str) -> JobStatus | None:
    """The outcome of a job; None if the broker does not answer, which is logged."""
    try:
        return await broker.status(job_id)
    except CacheWarmerError as error:
        log.warning("job %s: its end is not reported: %s", job_id, error)
        return None


def shown(url: str) -> str:
    """The part of a URL that may be shown: without user and password, and without the path, which is often a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def run_command(words: tuple[str, ...], document: bytes, about: dict[str, str], seconds: float) -> None:
    """Runs a command with ``document`` on its standard input, and ``about`` in its environment. Its output goes to
    standard error.

    Raises:
        OSError: it could not be started.
        RuntimeError: it failed, or did not end within ``seconds`` and was killed.
    """
    with subprocess.Popen(  # noqa: S603  # the user's own command
        words, stdin=subprocess.PIPE, stdout=2, env={**os.environ, **about}, start_new_session=True
    ) as process:
        try:
            process.communicate(document, timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise RuntimeError(f"not finished after {seconds:g} s: killed") from None
    if process.returncode:
        raise RuntimeError(
            f"exit code {process.returncode}" if process.returncode > 0 else f"ended by signal {-process.returncode}"
        )


def post(url: str, document: bytes, sleep: Callable[[float], None] = time.sleep) -> None:
    """Posts ``document`` to a URL, up to three times if the failure is transient.

    Redirects are not followed, because the report is meant for this server only.

    Raises:
        OSError: the server could not be reached or did not accept it (``urllib.error.HTTPError`` has the status).
        http.client.HTTPException: the server did not answer with valid HTTP.
    """
    import http.client
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host, fragment="").geturl(), document, method="POST")  # noqa: S310
    request.add_header("Content-Type", "application/json")
    request.add_header("User-Agent", "cachewarmer")
    if at:
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(login).encode()).decode()}")
    opener = build_opener(NoRedirect)
    for wait in (*WAITS, None):
        try:
            opener.open(request, timeout=POST_SECONDS).close()
        except HTTPError as error:
            error.close()
            if error.code not in TRANSIENT or wait is None:
                raise
        except (OSError, http.client.HTTPException):
            if wait is None:
                raise
        else:
            return
        if wait is not None:
            sleep(wait)


def _reason(error: Exception) -> str:
    """The reason of a failure, in words that don't contain the URL."""
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause: Any = error.reason if isinstance(error, URLError) else error
    return str(getattr(cause, "strerror", "") or cause or type(cause).__name__)
