"""Holding out while a broker can't be reached: what a manager or worker has in hand is worth more than a minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cachewarmer.errors import BrokerError

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.2
MOST_WAIT_SECONDS = 5.0


async def persist(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The result of a broker call, made again while its failure is transient, for up to ``seconds``.

    The call must bear being done twice: of a failed one nobody knows whether the broker did it.

    Raises:
        BrokerError: what the last try failed with.
    """
    deadline = time.monotonic() + seconds
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return await call()
        except BrokerError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
            log.warning("%s; trying again", error)
        await asyncio.sleep(wait)
        wait = min(MOST_WAIT_SECONDS, wait * 2)
