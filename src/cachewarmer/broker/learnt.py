"""What is already known about addresses, as a starting point of the search for a window. Nothing depends on it."""

from __future__ import annotations

import asyncio
import logging

from cachewarmer.about import about
from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerError
from cachewarmer.model import Learnt

log = logging.getLogger(__name__)

LEARN_SECONDS = 2.0
"""How long to wait for the broker's answer before beginning without it."""


async def first_windows(
    broker: Broker, *, readers: int = 1, job_id: str = "", ask_workers: bool = True
) -> dict[str, int]:
    """The window with which each of ``readers`` new readers may begin, by address.

    It follows from the windows of the workers at an address now (unless ``ask_workers`` is false), else from what was
    stored with the job ``job_id``. Empty if the broker knows nothing, or does not answer in time: then the search
    starts from the beginning.
    """
    known: dict[str, int] = {}
    try:
        async with asyncio.timeout(LEARN_SECONDS):
            if job_id:
                look = await broker.look(job_id)
                known = look.learnt.first_windows(readers) if look.learnt is not None else {}
            if ask_workers:
                known |= Learnt.of(await broker.workers()).first_windows(readers)
    except (BrokerError, TimeoutError) as error:
        log.info("asking what is known of the addresses: %s", error, extra=about(job=job_id) if job_id else None)
    return known
