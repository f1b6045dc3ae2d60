"""What can be warmed, behind one contract (``base``); ``open_session`` chooses how."""

from __future__ import annotations

from cachewarmer.config import Settings
from cachewarmer.errors import UsageError
from cachewarmer.targets.base import Mount, Session


async def open_session(mount: Mount, settings: Settings) -> Session:
    """Opens one mount address of a job, or a local directory, by the transport it asks for."""
    if not mount.address:
        from cachewarmer.targets.local import open_local

        return await open_local("/", settings.local)
    if mount.transport == "mount":
        raise UsageError(f"{mount.address}: kernel mounts are not there yet; mount it yourself and give the path")
    from cachewarmer.targets.nfs3 import open_nfs3

    return await open_nfs3(mount, settings.nfs)
