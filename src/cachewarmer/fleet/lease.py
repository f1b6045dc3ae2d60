"""Decides which of several managers drives a fleet, if two would get twice as many machines (``Fleet.one_manager``)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress

from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerError

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0


class FleetLease:
    """This process's lease, kept by the broker, on the fleet of this name. With ``shared``, every process holds it."""

    def __init__(self, broker: Broker, fleet: str, *, shared: bool, renew_seconds: float = RENEW_SECONDS) -> None:
        self._broker = broker
        self._fleet = fleet
        self._shared = shared
        self._renew_seconds = renew_seconds
        self._name = secrets.token_hex(8)
        self._has: bool | None = True if shared else None

    @property
    def is_anothers(self) -> bool:
        """Whether another manager drives the fleet, as far as the broker has said."""
        return self._has is False

    async def take(self) -> bool:
        """Takes or renews the lease; returns whether this process drives the fleet now.

        While the broker does not answer, nothing changes: no other process can take the lease either, and the one that
        drove the fleet may still have to delete it.
        """
        if self._shared:
            return True
        try:
            has = await self._broker.take_fleet(self._fleet, self._name, LEASE_SECONDS)
        except BrokerError as error:
            log.debug("fleet %s: whether another manager has it can't be asked: %s", self._fleet, error)
            return bool(self._has)
        if has is not self._has and (self._has is not None or not has):
            log.info("fleet %s: %s", self._fleet, "this manager has it now" if has else "another manager has it")
        self._has = has
        return has

    async def keep(self) -> None:
        """Renews the lease until cancelled, because a call of the fleet may take longer than the lease lasts."""
        while not self._shared:
            await asyncio.sleep(self._renew_seconds)
            if self._has:
                await self.take()

    async def give_back(self) -> None:
        """Gives up the lease, so that another manager can take it at once."""
        if self._has and not self._shared:
            self._has = False
            with suppress(BrokerError):
                await self._broker.take_fleet(self._fleet, self._name, 0.0)
