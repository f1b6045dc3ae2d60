"""What is around a broker, and has its own doctor: the cloud that it, or the fleet, belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from cachewarmer.config import FleetSettings
from cachewarmer.doctor.findings import Finding


async def look_around(broker_url: str, fleet: FleetSettings, *, workers: int = 0) -> AsyncIterator[Finding]:
    """What there is to say of the surroundings of a broker, and of the place for ``workers`` machines (0: as many as
    ``fleet`` says); nothing where neither belongs to a cloud that is known here.
    """
    names = (broker_url.partition(":")[0], fleet.kind)
    for look in dict.fromkeys(AROUND[name] for name in names if name in AROUND):
        async for found in look(fleet, workers):
            yield found


async def _azure(fleet: FleetSettings, workers: int) -> AsyncIterator[Finding]:
    from cachewarmer.doctor.azure import look_at_azure  # noqa: PLC0415  # only who is there needs it

    async for found in look_at_azure(fleet, workers=workers):
        yield found


AROUND: Mapping[str, Callable[[FleetSettings, int], AsyncIterator[Finding]]] = {"azure": _azure, "vmss": _azure}
"""By the scheme of a broker's URL, and by the kind of a fleet."""
