"""The kinds of targets, which share one contract (``base``); ``open_session`` chooses among them."""

from __future__ import annotations

import logging
from dataclasses import replace

from cachewarmer.config import Settings
from cachewarmer.errors import (
    CacheWarmerError,
    ConnectFailed,
    Failure,
    FlavorRefused,
    MountError,
    OwnResourceError,
    RemoteProtocolError,
    RpcRefused,
    TransportError,
    UnknownHost,
)
from cachewarmer.rpc.nfs3 import PORT as NFS_PORT
from cachewarmer.targets.base import Mount, Session

log = logging.getLogger(__name__)


async def open_session(mount: Mount, settings: Settings) -> Session:
    """Opens a mount address of a job, or a local directory, by the transport that ``mount`` names.

    With ``auto``, that is the direct reader if the server answers NFSv3, even if it refuses the mount; else a kernel
    mount.

    Raises:
        CacheWarmerError: it can't be opened; with ``auto``, the message says how each of the two ways failed.
    """
    if not mount.address:
        from cachewarmer.targets.local.session import open_local  # noqa: PLC0415 -- only what is used is loaded

        return await open_local("/", settings.local)
    nfs = settings.nfs
    mount = replace(mount, nfs_port=mount.nfs_port or nfs.port, mount_port=mount.mount_port or nfs.mount_port)
    if mount.transport == "mount":
        from cachewarmer.targets.mount.session import open_mounted  # noqa: PLC0415

        return await open_mounted(mount, settings)
    from cachewarmer.targets.nfs3.session import open_nfs3  # noqa: PLC0415

    try:
        return await open_nfs3(mount, settings.nfs)
    except (TransportError, RpcRefused, RemoteProtocolError, FlavorRefused) as error:
        # A resource that this process has used up is missing for a kernel mount too.
        if mount.transport != "auto" or isinstance(error, UnknownHost | OwnResourceError):
            raise
        return await _mounted_instead(mount, settings, error)


async def _mounted_instead(mount: Mount, settings: Settings, direct: CacheWarmerError) -> Session:
    """Opens a kernel mount, because the direct reader failed with ``direct``."""
    from cachewarmer.targets.mount.session import open_mounted  # noqa: PLC0415
    from cachewarmer.targets.mount.table import why_not  # noqa: PLC0415

    problem = Failure(problem=why_not())
    cause: BaseException = direct
    if not problem:
        port = mount.nfs_port or NFS_PORT
        try:
            # mount(8) tries for minutes, which is not worth the wait if nothing listens.
            await _reach(mount.address, port, settings.nfs.connect_seconds)
        except ConnectFailed as error:
            problem, cause = error.fill(address=mount.address).failure, error
    if not problem:
        log.info("%s: the direct reader can't be used (%s): mounting", mount.address, direct)
        try:
            return await open_mounted(mount, settings)
        except CacheWarmerError as error:
            problem, cause = error.fill(address=mount.address).failure, error
    kind = ConnectFailed if direct.transient else MountError
    ways = (
        f"{way}: {replace(said, address='')}"  # the address is at the beginning of the message
        for way, said in (("direct reader", direct.failure), ("kernel mount", problem))
    )
    raise kind("; ".join(ways), address=mount.address) from cause


async def _reach(address: str, port: int, seconds: float) -> None:
    """Makes a connection and closes it. Raises ``ConnectFailed`` if no IP address of the name accepts one."""
    from cachewarmer.targets.nfs3.connection import connect, resolve  # noqa: PLC0415

    failure: ConnectFailed | None = None
    for family, place in await resolve(address):
        try:
            sock, _ = await connect(address, family, place, port, seconds=seconds, privileged=False, what="nfs")
        except ConnectFailed as error:
            failure = failure or error
        else:
            sock.close()
            return
    if failure is not None:
        raise failure
