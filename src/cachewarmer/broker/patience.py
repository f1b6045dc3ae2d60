"""Retries calls while a broker can't be reached, so that the work that a manager or worker holds is not lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerBusy, BrokerError
from cachewarmer.outage import OutageLog

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.2
MOST_WAIT_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""An outage is over when nothing has failed for this long, because often only a part of a broker fails."""

_logs: WeakKeyDictionary[Broker, OutageLog] = WeakKeyDictionary()


def outage_log(broker: Broker) -> OutageLog:
    """The log where all users of a broker in this process report its outages, so that each is logged once."""
    found = _logs.get(broker)
    if found is None:
        found = _logs[broker] = OutageLog(log, "the broker", quiet_seconds=QUIET_SECONDS)
    return found


async def persist(
    call: Callable[[], Awaitable[T]], seconds: float, outage: OutageLog, *, busy_seconds: float | None = None
) -> T:
    """Returns the result of a broker call, retrying it while its failure is transient, for up to ``seconds``.

    While others hold the broker (``BrokerBusy``), it is retried for ``busy_seconds`` instead, if that is given. The
    call must be idempotent, because the broker may have carried out a failed one. ``outage`` is told of failures and
    answers.

    Raises:
        BrokerError: the failure of the last try.
    """
    began = time.monotonic()
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            result = await call()
        except BrokerError as error:
            limit = busy_seconds if busy_seconds is not None and isinstance(error, BrokerBusy) else seconds
            if not error.transient or time.monotonic() - began > limit:
                raise
            outage.failed(str(error))
        else:
            outage.answered()
            return result
        await asyncio.sleep(wait)
        wait = min(MOST_WAIT_SECONDS, wait * 2)
