"""Retries calls while a broker can't be reached, because the work that a manager or worker holds is worth waiting for."""

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
"""An outage of a broker is over when nothing has failed for this long: often only a part of it is away."""

_logs: WeakKeyDictionary[Broker, OutageLog] = WeakKeyDictionary()


def outage_log(broker: Broker) -> OutageLog:
    """Where all users of a broker in this process report that it does not answer, so that an outage is logged once."""
    found = _logs.get(broker)
    if found is None:
        found = _logs[broker] = OutageLog(log, "the broker", quiet_seconds=QUIET_SECONDS)
    return found


async def persist(
    call: Callable[[], Awaitable[T]], seconds: float, outage: OutageLog, *, busy_seconds: float | None = None
) -> T:
    """The result of a broker call, made again while its failure is transient, for up to ``seconds``.

    ``busy_seconds``: for so long instead while others hold the broker (``BrokerBusy``).

    The call must bear being done twice: of a failed one nobody knows whether the broker did it.

    Raises:
        BrokerError: what the last try failed with.
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
