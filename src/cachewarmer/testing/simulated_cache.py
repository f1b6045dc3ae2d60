"""A read-through cache under simulated time: see ``cachewarmer.forecast.simulated``, which ``plan`` uses too."""

from __future__ import annotations

from cachewarmer.forecast.simulated import (
    Answer,
    CacheModel,
    CallKind,
    SimulatedCache,
    SimulatedProbe,
    SimulatedReader,
)

__all__ = ["Answer", "CacheModel", "CallKind", "SimulatedCache", "SimulatedProbe", "SimulatedReader"]
