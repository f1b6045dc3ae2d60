"""The boundary to the Azure SDK: retries with jitter, and foreign exceptions turned into ours.

The SDK's own retries are off, so that queues and tables behave alike and one place decides. The text of an error is the
service's error code, never its message, because messages quote what was signed.
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
"""Maximum number of calls in flight for one publish, or for the deletions after one complete."""
FIRST_WAIT_SECONDS = 0.25
MOST_WAIT_SECONDS = 6.0
CONNECT_SECONDS = 8.0
READ_SECONDS = 20.0
TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"QueueBeingDeleted", "TableBeingDeleted", "OperationTimedOut", "ServerBusy"})
UNAUTHENTICATED = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo"})
"""The service's codes for a signature or a token that is not valid."""
FORBIDDEN = 403
NOT_FOUND = 404
ROLES = "Storage Queue Data Contributor and Storage Table Data Contributor"

FOREIGN = (AzureError, aiohttp.ClientError, OSError, TimeoutError)
"""The exceptions that a call of the SDK may raise."""

NO_RETRIES = {"retry_total": 0, "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
"""Options of every client: one attempt for each call, with a timeout."""


def error_code(error: BaseException) -> str:
    """The service's error code (``PopReceiptMismatch``, …), else the HTTP status or the type of the exception."""
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
    """Our exception for a foreign one; ``what`` names the operation and its object, for the message."""
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
    """Makes calls of the SDK and retries them while their failure is transient; see ``doing``."""

    def __init__(self, what: str) -> None:
        self.what = what

    async def __call__(self, function: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """Returns the result of ``function``, which must be idempotent.

        A call is also retried if its failure leaves open whether the service has carried it out.

        Raises:
            AzureError, OSError, …: the failure of the last try. For transient failures that is try ``ATTEMPTS``, 2 to
                4 s after the first one if the service answers at once; for any other it is the first one.
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
    """Yields a ``Call``, and turns the exceptions of the SDK that leave the block into ours.

    For example: ``with doing("reading job 7") as call: row = await call(client.get_entity, partition, key)``.

    ``call`` retries. The error that it finally raises leaves the block as our exception, with ``what`` in its text and
    the foreign exception as its cause. An error with a meaning of its own, such as a missing row, is to be caught
    inside the block. ``translate`` makes our exception instead of ``translated`` where other types are needed.

    Raises:
        BrokerUnavailable: the failure is transient. BrokerError: it is permanent. With ``translate``: what it returns.
    """
    try:
        yield Call(what)
    except FOREIGN as error:
        raise (translate or translated)(error, what) from error


def _retry_after(error: BaseException) -> float:
    """Seconds that the service asks us to wait (``Retry-After``), at most 30."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    try:
        return max(0.0, min(30.0, float(headers.get("Retry-After", 0))))
    except (TypeError, ValueError):
        return 0.0


async def create(what: str, make: Callable[[], Awaitable[object]], is_there: Callable[[], Awaitable[bool]]) -> None:
    """Creates a resource with ``make`` unless it exists; for an identity that may not create it, it must exist.

    Raises:
        BrokerError: the resource does not exist and may not be created. BrokerUnavailable: see ``doing``.
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
    """Awaits calls, at most ``at_once`` of them at a time, and returns their results in order.

    If a call fails, the others are awaited all the same; then the first error is raised.
    """
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
