"""Overrides the settings for reading with what was chosen."""

from __future__ import annotations

from dataclasses import replace

from cachewarmer.choice.values import Reading
from cachewarmer.config import Settings


def with_reading(settings: Settings, reading: Reading) -> Settings:
    """The settings, with what was chosen in place of what they say."""
    nfs, lease = settings.nfs, settings.lease
    nfs = replace(
        nfs,
        window_calls=reading.window or nfs.window_calls,
        window_auto=_automatic(reading, loaded=nfs.window_auto),
        window_max_calls=reading.max_window or nfs.window_max_calls,
        gentle=reading.gentle or nfs.gentle,
        connections=reading.connections or nfs.connections,
    )
    if reading.patience is not None:
        lease = replace(lease, patience_seconds=reading.patience)
    return replace(settings, nfs=nfs, lease=lease)


def _automatic(reading: Reading, *, loaded: bool | None) -> bool:
    """Whether the window is to be found; ``loaded``: what the settings file says."""
    if reading.window:
        return False
    return bool(loaded) or reading.window == 0 or reading.max_window is not None or reading.gentle
