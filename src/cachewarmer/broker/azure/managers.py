"""A row for each manager: when it was last seen, by the clock of the service, and which jobs it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import doing
from cachewarmer.broker import record
from cachewarmer.broker.azure.clock import ServiceClock
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True)
class SeenManager:
    """A manager, as its row describes it."""

    name: str
    seconds_ago: float
    jobs: frozenset[str]


class ManagerRows:
    """The rows of the managers of one prefix. Raises the errors that ``Broker`` documents."""

    def __init__(self, client: TableClient, prefix: str) -> None:
        self._client = client
        self._partition = f"{prefix}.managers"

    async def note(self, name: str, jobs: list[str]) -> None:
        """Writes the row of a manager, to which the service adds the time."""
        row = {
            "PartitionKey": self._partition,
            "RowKey": hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
            "Name": record.printable(name)[:500],
            "Jobs": json.dumps(jobs).encode("ascii"),
        }
        with doing(f"noting the manager {name}") as call:
            await call(self._client.upsert_entity, row, mode=UpdateMode.REPLACE)

    async def seen(self) -> list[SeenManager]:
        """Every manager that has a row. Ages are by the clock of the service only, so that ours may be wrong."""
        clock = ServiceClock()

        async def query() -> list[Mapping[str, Any]]:
            found = self._client.query_entities(
                "PartitionKey eq @partition",
                parameters={"partition": self._partition},
                raw_response_hook=clock.look,
            )
            return [row async for row in found]

        with doing("looking for managers") as call:
            rows = await call(query)
        return [one for row in rows if (one := _manager(row, clock)) is not None]

    async def forget(self, keep_seconds: float) -> None:
        """Drops the rows of managers that were not seen for ``keep_seconds``."""
        for one in await self.seen():
            if one.seconds_ago > keep_seconds:
                row = hashlib.blake2b(one.name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
                with doing(f"forgetting the manager {one.name}") as call:
                    await call(self._client.delete_entity, self._partition, row)


def _manager(row: Any, clock: ServiceClock) -> SeenManager | None:
    """The manager in a row; None: the row is not valid."""
    try:
        jobs = frozenset(str(one) for one in json.loads(bytes(row["Jobs"])))
        return SeenManager(str(row["Name"]), clock.seconds_since(row), jobs)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
