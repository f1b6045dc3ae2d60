"""How a cache is reached: the one value that jobs, items and sessions share, with its checks and its JSON keys.

A further connection parameter is one more field here: it then travels in jobs, items and mounts by itself, and can be
written in a TARGET.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import Any

from cachewarmer.errors import InvalidValue
from cachewarmer.model.fields import check_fields, from_texts, keyed
from cachewarmer.values import dataclass
from cachewarmer.wire import MAX_ID, MAX_PORT

MAX_ADDRESSES = 256
"""Maximum number of addresses of a job: each address that does not answer costs time."""
_NAME = r"(?a)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?"
_ZONE = r"(?a)[A-Za-z0-9._-]{1,32}"


class Transport(StrEnum):
    """How a job or an item asks to be read."""

    AUTO = "auto"
    """The direct reader where NFSv3 answers, else a kernel mount."""
    NFS = "nfs"
    MOUNT = "mount"
    LOCAL = "local"
    """The files of the machine that reads; without any address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a cache is reached. ``addresses`` is empty for this machine's own files.

    Raises:
        InvalidValue: a value is out of its range, whoever made the object.
    """

    addresses: tuple[str, ...] = keyed("WarmTargetMountAddresses", "texts", (), always=True, most=MAX_ADDRESSES)
    """Mount addresses: host names, IPv4 and IPv6 addresses, these without brackets."""
    export: str = keyed("WarmTargetExportPath", "path", "", always=True)
    """The export to mount; empty: found from the server's export list, by the whole path."""
    transport: Transport = keyed("Transport", "choice", Transport.AUTO, choices=Transport)  # noqa: RUF009  # a field, as the others
    nfs_port: int = keyed("NfsPort", "number", 0, most=MAX_PORT)
    """0: the settings', or else what the portmapper says."""
    mount_port: int = keyed("MountPort", "number", 0, most=MAX_PORT)
    uid: int = keyed("Uid", "number", -1, least=-1, most=MAX_ID)
    """AUTH_SYS user id; −1: the settings', or else that of the process that reads."""
    gid: int = keyed("Gid", "number", -1, least=-1, most=MAX_ID)
    gids: tuple[int, ...] = keyed("Gids", "ids", ())
    """Supplementary groups."""

    def __post_init__(self) -> None:
        check_fields(self)
        for address in self.addresses:
            check_address(address)
        if self.transport is Transport.LOCAL and self.addresses:
            raise InvalidValue("transport local is for local paths: it takes no mount address")

    @property
    def is_local(self) -> bool:
        """Whether this machine's own files are meant."""
        return not self.addresses

    def check_complete(self) -> None:
        """Raises ``InvalidValue`` where neither an address is given nor this machine is asked for."""
        if not self.addresses and self.transport is not Transport.LOCAL:
            raise InvalidValue("WarmTargetMountAddresses is empty")


def access_parameters(texts: dict[str, str]) -> dict[str, Any]:
    """The values that stand behind the ``?`` of a TARGET, as arguments for ``Access``. Raises ``InvalidValue``."""
    return from_texts(Access, texts, ("export", "resolve"))


def check_address(text: str) -> None:
    """Raises ``InvalidValue`` unless the text is a host name, an IPv4 address or an IPv6 address without brackets."""
    host, percent, zone = text.partition("%")
    if ":" in text:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise InvalidValue(f"{text[:100]!r} is not a valid mount address") from None
        good = not percent or re.fullmatch(_ZONE, zone) is not None
    else:
        good = re.fullmatch(_NAME, text) is not None
    if not good:
        raise InvalidValue(f"{text[:100]!r} is not a valid mount address")


NOWHERE = Access()
"""The access of a job or an item that is not complete yet."""
