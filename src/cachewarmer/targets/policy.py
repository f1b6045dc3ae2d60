"""Restricts what a service reads: applies the ``[targets]`` settings before sessions are opened.

Whoever can post to the queue of a manager or worker chooses addresses, exports and paths. Nothing is opened for them
before ``check_allowed`` has permitted it. What users warm with commands of their own is not restricted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cachewarmer.config import Settings, TargetSettings
from cachewarmer.errors import NotAllowed
from cachewarmer.model import Transport
from cachewarmer.paths import climbs, holds, join, to_bytes
from cachewarmer.targets.base import Mount, Session

Opener = Callable[[Mount, Settings], Awaitable[Session]]
Check = Callable[[Mount], None]
"""A function that raises ``NotAllowed`` if a mount may not be opened."""


def check_allowed(mount: Mount, allowed: TargetSettings) -> None:
    """Checks whether a session may be opened.

    A host name must be listed as it is written, because its owner decides what it resolves to, and may change that.

    Raises:
        NotAllowed: it may not; the error names the setting that forbids it.
    """
    if not mount.address:
        _check_local(mount, allowed)
        return
    if allowed.allow_addresses and not any(_covers(one, mount.address) for one in allowed.allow_addresses):
        raise _refused(mount, "this address", "allow_addresses")
    if allowed.allow_transports and str(mount.transport) not in _transports(allowed):
        raise _refused(mount, f"transport {mount.transport}", "allow_transports")
    if not allowed.allow_exports:
        return
    whole = join(mount.export, mount.path)
    if climbs(whole) or not any(holds(one, whole) for one in allowed.allow_exports):
        raise _refused(mount, "this path", "allow_exports", whole)


def check_of(settings: Settings, *, local_too: bool) -> Check:
    """The check of a service, for ``SessionPool``.

    ``local_too``: the files of this machine may be read without a setting, unless ``allow_local`` names some. That is
    for a broker that is a file, where only the user of this machine can post.
    """

    def check(mount: Mount) -> None:
        if mount.address or not local_too or settings.targets.allow_local:
            check_allowed(mount, settings.targets)

    return check


def within_transports(opener: Opener) -> Opener:
    """An opener that replaces ``auto`` by the direct reader or the kernel mount if only one of them is allowed."""

    async def open_narrowed(mount: Mount, settings: Settings) -> Session:
        ways = set(settings.targets.allow_transports) & {Transport.NFS, Transport.MOUNT}
        if mount.address and mount.transport is Transport.AUTO and len(ways) == 1:
            mount = replace(mount, transport=Transport(ways.pop()))
        return await opener(mount, settings)

    return open_narrowed


def _transports(allowed: TargetSettings) -> set[str]:
    named = set(allowed.allow_transports)
    return named | {Transport.AUTO} if named & {Transport.NFS, Transport.MOUNT} else named


def _check_local(mount: Mount, allowed: TargetSettings) -> None:
    whole = join(mount.path)
    if climbs(whole) or not any(holds(one, whole) for one in allowed.allow_local):
        raise _refused(mount, "a path of this machine", "allow_local", whole)


def _refused(mount: Mount, what: str, setting: str, path: str = "") -> NotAllowed:
    return NotAllowed(
        f"{what} is not among those that this service may read",
        subject=to_bytes(path),
        address=mount.address,
        advice=f"its operator can allow it: [targets] {setting}",
    )


def _covers(allowed: str, address: str) -> bool:
    """Whether an address is the one that is allowed, or is in the network that is."""
    if allowed.lower() == address.lower():
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]) in ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        return False  # one of the two is a host name
