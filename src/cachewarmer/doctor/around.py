"""Checks the surroundings of a broker: the cloud that it or the fleet belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module

from cachewarmer.config import FleetSettings
from cachewarmer.findings import Finding

AROUND = {"azure": "cachewarmer.fleet.vmss.surroundings", "vmss": "cachewarmer.fleet.vmss.surroundings"}
"""Modules with a ``look_around``, by the scheme of a broker's URL, and by the kind of a fleet."""


async def look_around(broker_url: str, fleet: FleetSettings, *, workers: int = 0) -> AsyncIterator[Finding]:
    """What there is to say of the surroundings of a broker, and of the place for ``workers`` machines (0: as many as
    ``fleet`` says); nothing where neither belongs to a cloud that is known here.
    """
    names = (broker_url.partition(":")[0], fleet.kind)
    for module in dict.fromkeys(AROUND[name] for name in names if name in AROUND):
        async for found in import_module(module).look_around(fleet, workers=workers):
            yield found
