"""A row for each fleet: which manager drives it, and for how long after the timestamp of the service."""

from __future__ import annotations

import hashlib
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import doing
from cachewarmer.broker import record
from cachewarmer.broker.azure.clock import ServiceClock
from cachewarmer.broker.base import MOST_FLEET_SECONDS


class FleetRows:
    """The rows of the fleets of one prefix. Raises the errors that ``Broker`` documents."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._partition = f"{prefix}.fleets"
        self._damaged = damaged

    async def take(self, fleet: str, manager: str, seconds: float) -> bool:
        """See ``Broker.take_fleet``. The row is created if there is none, else replaced unless somebody changed it."""
        key = hashlib.blake2b(fleet.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        row = {
            "PartitionKey": self._partition,
            "RowKey": key,
            "Manager": record.printable(manager)[:500],
            "Seconds": float(seconds),
        }
        clock = ServiceClock()
        with doing(f"taking the fleet {fleet}") as call:
            try:
                there = await call(self._client.get_entity, self._partition, key, raw_response_hook=clock.look)
            except ResourceNotFoundError:
                try:
                    await call(self._client.create_entity, row)
                except ResourceExistsError:  # by another manager, or by us if the answer was lost
                    return await self._has(call, row)
                return True
            if there.get("Manager") != row["Manager"] and not self._is_over(fleet, there, clock):
                return False
            matching = {"etag": there.metadata["etag"], "match_condition": MatchConditions.IfNotModified}
            try:
                await call(self._client.update_entity, row, mode=UpdateMode.REPLACE, **matching)
            except ResourceModifiedError:
                return await self._has(call, row)
            return True

    async def _has(self, call: Any, row: dict[str, Any]) -> bool:
        there = await call(self._client.get_entity, row["PartitionKey"], row["RowKey"])
        return bool(there.get("Manager") == row["Manager"])

    def _is_over(self, fleet: str, row: Any, clock: ServiceClock) -> bool:
        """Whether the time of the manager in a row is over, by the service's clock, or is not valid."""
        seconds = row.get("Seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_FLEET_SECONDS:
            self._damaged.name_lease(f"the fleet {fleet}", seconds, word="for")
            return True
        try:
            return clock.seconds_since(row) >= seconds
        except (AttributeError, KeyError, TypeError):
            return True
