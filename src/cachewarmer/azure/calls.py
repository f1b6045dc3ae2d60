"""The boundary to the Azure SDK: retries with jitter, and foreign exceptions turned into ours.

The SDK's own retries are off, so that queues and tables behave alike and one place decides. An error's text is the
service's error code, never its message: those quote what was signed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
)

from cachewarmer.errors import BrokerError, BrokerUnavailable, CacheWarmerError

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 5
CALLS_IN_FLIGHT = 32
"""Of one publish, or of the deletes after one complete."""
FIRST_WAIT_SECONDS = 0.25
MOST_WAIT_SECONDS = 6.0
CONNECT_SECONDS = 8.0
READ_SECONDS = 20.0
TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"QueueBeingDeleted", "TableBeingDeleted", "OperationTimedOut", "ServerBusy"})
UNAUTHENTICATED = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo"})
"""The codes of a signature or a token that the service can't make out."""
FORBIDDEN = 403
NOT_FOUND = 404
ROLES = "Storage Queue Data Contributor and Storage Table Data Contributor"

FOREIGN = (AzureError, aiohttp.ClientError, OSError, TimeoutError)
"""What may come out of an SDK call."""

NO_RETRIES = {"retry_total": 0, "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
"""Options of every client: one attempt a call, with a limit of time."""


def error_code(error: BaseException) -> str:
    """The service's code (``PopReceiptMismatch``, …), or what else names the error in a word."""
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    status = getattr(error, "status_code", None)
    return f"HTTP status {status}" if status else type(error).__name__


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, HttpResponseError):
        return error.status_code in TRANSIENT_STATUS or error_code(error) in TRANSIENT_CODES
    if isinstance(error, ClientAuthenticationError):
        return False
    # Connections that were refused, lost or timed out; a reply that broke off.
    return isinstance(error, ServiceRequestError | ServiceResponseError | aiohttp.ClientError | OSError | TimeoutError)


def translated(error: BaseException, what: str) -> BrokerError:
    """Our exception for a foreign one; ``what`` says what was being done, to what."""
    if is_transient(error):
        if isinstance(error, HttpResponseError):
            return BrokerUnavailable(f"{what}: the service is busy or unavailable ({error_code(error)})")
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return BrokerUnavailable(f"{what}: can't be reached ({why}); check the account's name, the network and proxies")
    status = getattr(error, "status_code", None)
    if status in (401, 403) or (status and isinstance(error, ClientAuthenticationError)):
        code = error_code(error)
        who = "check the key and this machine's clock; an identity" if code in UNAUTHENTICATED else "this identity"
        return BrokerError(f"{what}: not allowed ({code}): {who} needs the roles {ROLES}")
    if isinstance(error, ClientAuthenticationError):
        return BrokerError(
            f"{what}: could not sign in to Azure: run `az login`, use a managed identity, or give a key or "
            f"AZURE_STORAGE_CONNECTION_STRING"
        )
    return BrokerError(f"{what}: refused ({error_code(error)})")


class Call:
    """Makes SDK calls, again and again while they fail in a way that may pass; see ``doing``."""

    def __init__(self, what: str) -> None:
        self.what = what

    async def __call__(self, function: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """The result of ``function``. A failure that leaves open whether the service did it is repeated too, so it must
        bear being done twice.

        Raises:
            AzureError, OSError, …: what the last try failed with: after ``ATTEMPTS`` of them (about 10 s in all when
                the service answers at once) if it may pass, else after the first.
        """
        wait = FIRST_WAIT_SECONDS
        for number in range(1, ATTEMPTS + 1):
            try:
                return await function(*arguments, **options)
            except FOREIGN as error:
                if number == ATTEMPTS or not is_transient(error):
                    raise
                pause = max(_retry_after(error), random.uniform(wait / 2, wait))
                log.debug("%s: %s; again in %.1f s", self.what, error_code(error), pause)
            await asyncio.sleep(pause)
            wait = min(MOST_WAIT_SECONDS, wait * 2)
        raise AssertionError("unreachable")


@contextmanager
def doing(what: str, translate: Callable[[BaseException, str], CacheWarmerError] | None = None) -> Iterator[Call]:
    """Gives the caller a ``Call``, and turns what its calls finally fail with into our exceptions.

    As in: ``with doing("reading job 7") as call: row = await call(client.get_entity, partition, key)``.

    ``call`` retries, and what it finally fails with leaves the block as our exception, with ``what`` in it and the
    foreign one as its cause. What has a meaning of its own (a row that is not there) is caught inside the block.
    ``translate`` is used in place of ``translated`` where other errors are meant, as for machines.

    Raises:
        BrokerUnavailable: it may pass. BrokerError: it will not. With ``translate``: what that returns.
    """
    try:
        yield Call(what)
    except FOREIGN as error:
        raise (translate or translated)(error, what) from error


def _retry_after(error: BaseException) -> float:
    """Seconds that the service asks us to wait, within reason."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    try:
        return max(0.0, min(30.0, float(headers.get("Retry-After", 0))))
    except (TypeError, ValueError):
        return 0.0


async def create(what: str, make: Callable[[], Awaitable[object]], is_there: Callable[[], Awaitable[bool]]) -> None:
    """Makes something unless it is there; an identity that may not make it may find it there.

    Raises:
        BrokerError: it is not there and we may not make it. BrokerUnavailable: see ``doing``.
    """
    with doing(what) as call:
        try:
            await call(make)
        except ResourceExistsError:
            return
        except HttpResponseError as error:
            if error.status_code != FORBIDDEN or not await is_there():
                raise


async def all_of(calls: Iterable[Awaitable[T]], at_once: int = CALLS_IN_FLIGHT) -> list[T]:
    """The results of calls, ``at_once`` of them at a time; when one fails the others still end, and then its error is raised."""
    numbered = enumerate(calls)
    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def one_after_the_other() -> None:
        for place, one in numbered:
            try:
                results[place] = await one
            except Exception as error:
                errors.append(error)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    if errors:
        raise errors[0]
    return [results[place] for place in range(len(results))]
