"""Reports the end of a job: runs a command (``--on-end``) and posts the report to a URL (``--webhook``).

Telling never changes the outcome of the job: whatever fails here is one line in the log.
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
"""How long the command may run before it is killed, with what it started."""
POST_SECONDS = 10.0
"""How long the server may be silent."""
WEBHOOK_SECONDS = 60.0
"""How long all attempts to post may take together."""
WAITS = (1.0, 3.0)
"""Before the second attempt and the third, in seconds."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


async def tell(status: JobStatus, *, command: tuple[str, ...], webhook: str, allow_empty: bool) -> None:
    """Tells the command and the server of the end of a job, both at the same time; either may be empty. What fails is
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
    """The outcome of a job; None where the broker can't say, which is logged."""
    try:
        return await broker.status(job_id)
    except CacheWarmerError as error:
        log.warning("job %s: its end is not reported: %s", job_id, error)
        return None


def shown(url: str) -> str:
    """What may be shown of a URL: not its user and password, nor its path, which is the secret of many services."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def run_command(words: tuple[str, ...], document: bytes, about: dict[str, str], seconds: float) -> None:
    """Runs a command with ``document`` on its standard input; what it writes goes to standard error.

    Raises:
        OSError: it could not be started. RuntimeError: it failed, or did not end within ``seconds`` and was killed.
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
    """Posts ``document``; again where that may help. A redirect is not followed: the report is for this server.

    Raises:
        OSError: the server did not take it (``urllib.error.HTTPError`` with its status).
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
    """Why, in words without the URL."""
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause: Any = error.reason if isinstance(error, URLError) else error
    return str(getattr(cause, "strerror", "") or cause or type(cause).__name__)
