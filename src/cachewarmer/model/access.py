"""How a cache is reached: a value that jobs, items and sessions share, with its checks and its JSON keys.

To add a connection parameter, add a field here: jobs, items and mounts then carry it, and a TARGET can set it.
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
"""Maximum number of addresses of a job: every address that does not answer costs time."""
_NAME = r"(?a)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?"
_ZONE = r"(?a)[A-Za-z0-9._-]{1,32}"


class Transport(StrEnum):
    """How a job or an item asks to be read."""

    AUTO = "auto"
    """The direct reader where NFSv3 answers, else a kernel mount."""
    NFS = "nfs"
    MOUNT = "mount"
    LOCAL = "local"
    """The files of the machine that reads; there is no address then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a cache is reached. ``addresses`` is empty for this machine's own files.

    Raises:
        InvalidValue: a value is out of its range, or an address is not valid.
    """

    addresses: tuple[str, ...] = keyed("WarmTargetMountAddresses", "texts", (), always=True, most=MAX_ADDRESSES)
    """Mount addresses: host names, IPv4 addresses, and IPv6 addresses without brackets."""
    export: str = keyed("WarmTargetExportPath", "path", "", always=True)
    """The export to mount; empty: the one in the server's export list that contains the whole path."""
    transport: Transport = keyed("Transport", "choice", Transport.AUTO, choices=Transport)  # noqa: RUF009  # a field, as the others
    nfs_port: int = keyed("NfsPort", "number", 0, most=MAX_PORT)
    """0: as in the settings, else as the portmapper says."""
    mount_port: int = keyed("MountPort", "number", 0, most=MAX_PORT)
    uid: int = keyed("Uid", "number", -1, least=-1, most=MAX_ID)
    """AUTH_SYS user id; −1: as in the settings, else that of the reading process."""
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
        """Whether this is about this machine's own files."""
        return not self.addresses

    def check_complete(self) -> None:
        """Raises ``InvalidValue`` if there is no address, and the transport is not ``local`` either."""
        if not self.addresses and self.transport is not Transport.LOCAL:
            raise InvalidValue("WarmTargetMountAddresses is empty")


def access_parameters(texts: dict[str, str]) -> dict[str, Any]:
    """Converts the parameters after the ``?`` of a TARGET to arguments for ``Access``.

    Raises:
        InvalidValue: a key is unknown, or a value is not valid.
    """
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
