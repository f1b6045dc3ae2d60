"""The mount table of the kernel, and the names and directories of our mounts. This module mounts nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from urllib.parse import quote_from_bytes

from cachewarmer.bounds import MOUNT_OPTION
from cachewarmer.config import MountSettings
from cachewarmer.errors import ConfigError, InvalidValue, MountError
from cachewarmer.model import check_address
from cachewarmer.paths import to_bytes
from cachewarmer.rpc.nfs3 import PORT as NFS_PORT
from cachewarmer.targets.base import Mount
from cachewarmer.values import dataclass

MAX_NAME = 200
"""Maximum number of characters of a directory's name; file systems allow 255."""
MOUNTINFO = "/proc/self/mountinfo"
CAP_SYS_ADMIN = 21
_SEARCH = "/usr/sbin:/sbin:/usr/bin:/bin"
_ESCAPE = rb"\\([0-7]{3})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One line of ``/proc/self/mountinfo`` (proc(5))."""

    device: str
    """``major:minor``."""
    root: bytes
    mount_point: bytes
    kind: str
    source: bytes
    options: frozenset[str]
    """The options of the mount and of its file system."""

    @property
    def is_nfs(self) -> bool:
        return self.kind in ("nfs", "nfs4")

    def option(self, name: str) -> str | None:
        """The value of ``name=value``, or None."""
        return next((one.partition("=")[2] for one in self.options if one.startswith(name + "=")), None)


def unescape(field: bytes) -> bytes:
    r"""The bytes of a field, in which space, tab, newline and backslash are written as ``\ooo``."""
    return re.sub(_ESCAPE, lambda found: bytes([int(found[1], 8) & 255]), field)


def parse_mountinfo(raw: bytes) -> list[TableEntry]:
    """The table's entries in the kernel's order; invalid lines are left out."""
    entries: list[TableEntry] = []
    for line in raw.split(b"\n"):
        left, separator, right = line.partition(b" - ")
        fields, rest = left.split(b" "), right.split(b" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        entries.append(
            TableEntry(
                device=fields[2].decode("ascii", "replace"),
                root=unescape(fields[3]),
                mount_point=unescape(fields[4]),
                kind=rest[0].decode("ascii", "replace"),
                source=unescape(rest[1]),
                options=frozenset((fields[5] + b"," + rest[2]).decode("utf-8", "replace").split(",")),
            )
        )
    return entries


def read_table() -> list[TableEntry]:
    """The mounts in the namespace of this process; empty if the kernel does not show them."""
    try:
        with open(MOUNTINFO, "rb") as file:
            return parse_mountinfo(file.read())
    except OSError:
        return []


# -- ours ----------------------------------------------------------------------------------------------------------


def source_of(mount: Mount) -> bytes:
    """``ADDRESS:/EXPORT``, in the form that mount.nfs accepts.

    Raises:
        MountError: the address or the export is not valid, and could be taken for something else.
    """
    try:
        check_address(mount.address)
    except InvalidValue as error:
        raise MountError.like(error) from error
    if not mount.export.startswith("/") or "\0" in mount.export or ".." in mount.export.split("/"):
        raise MountError(f"{mount.export!r} is not a valid export", address=mount.address)
    host = f"[{mount.address}]" if ":" in mount.address else mount.address
    return os.fsencode(f"{host}:") + to_bytes(mount.export)


def options_of(mount: Mount, settings: MountSettings) -> str:
    """The options for mount(8).

    Raises:
        ConfigError: an option in the settings is not valid, and could be taken for something else.
    """
    options = ["hard", "proto=tcp", "retry=30"]
    if not settings.vers.startswith("4"):
        options.insert(2, "mountproto=tcp")  # NFSv4 has no mount protocol, and some versions of mount.nfs say so
        options.append("nolock")  # no files are locked, so statd is not needed
    options += ["ro", "nosuid", "nodev", "noexec"]
    proto6 = ":" in mount.address
    if proto6:
        options = [one.replace("proto=tcp", "proto=tcp6") for one in options]
    for name, value in (
        ("vers", settings.vers),
        ("nconnect", settings.nconnect or ""),
        ("sec", settings.sec),
        ("port", mount.nfs_port or ""),
        ("mountport", mount.mount_port if mount.mount_port and not settings.vers.startswith("4") else ""),
    ):
        if value:
            options.append(f"{name}={value}")
    options += [one.strip() for one in settings.options.split(",") if one.strip()]
    for one in options:
        if not re.fullmatch(MOUNT_OPTION, one):
            raise ConfigError(f"[mount]: {one!r} is not a valid mount option")
    return ",".join(options)


def _server(mount: Mount) -> str:
    return f"{mount.address}_{mount.nfs_port}" if mount.nfs_port not in (0, NFS_PORT) else mount.address


def key_of(mount: Mount) -> str:
    """A file name for a server, a port and an export, the same for all spellings of the export."""
    return f"{_server(mount)}%2F{_export_name(mount)}"


def place_of(mount: Mount, settings: MountSettings) -> bytes:
    """The directory to mount at: ``<root>/<address>/<export>``, the export being one component (``/a/b``: ``a%2Fb``).

    So no mount is inside another one, where a server could put a link in its way.
    """
    return os.fsencode(os.path.join(os.path.realpath(settings.root), _server(mount), _export_name(mount)))


def _export_name(mount: Mount) -> str:
    path = b"/".join(parts_of(to_bytes(mount.export))) or b"/"
    name = quote_from_bytes(path, safe=" ")
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}.{hashlib.sha256(path).hexdigest()[:16]}"


def parts_of(path: bytes) -> list[bytes]:
    """The components of an export's path."""
    return [one for one in path.split(b"/") if one not in (b"", b".")]


def prepare(root: str, place: bytes) -> None:
    """Creates the directories from ``root`` down to ``place``, all of which must be on the file system of ``root``.

    Raises:
        OSError: one of them is a link or a mount point, or can't be created. PermissionError: others may write there.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(root, flags)
    try:
        device = os.fstat(fd).st_dev
        for name in [b"", *parts_of(place[len(os.fsencode(root)) :])]:
            if name:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=fd)
                below = os.open(name, flags, dir_fd=fd)
                os.close(fd)
                fd = below
            found = os.fstat(fd)
            if found.st_dev != device:
                raise OSError(errno.EXDEV, "something else is mounted there", os.fsdecode(place))
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                raise PermissionError(
                    errno.EPERM, "others may write to this directory or to one above it", os.fsdecode(place)
                )
    finally:
        os.close(fd)


def find(mount: Mount, settings: MountSettings, place: bytes, table: Sequence[TableEntry]) -> bytes | None:
    """The mount point of an existing mount of the export, ours or somebody else's; None: there is none."""
    found: bytes | None = None
    for entry in table:
        if not entry.is_nfs:
            continue
        if entry.mount_point == place:
            return place
        if _serves(entry, mount, settings):
            found = entry.mount_point
    return found


def _serves(entry: TableEntry, mount: Mount, settings: MountSettings) -> bool:
    """Whether a mount shows the whole export, from the right port, with the options that the settings require."""
    same = (
        entry.root == b"/"
        and entry.source.rstrip(b"/") == source_of(mount).rstrip(b"/")
        and (entry.option("port") or str(NFS_PORT)) == str(mount.nfs_port or NFS_PORT)
    )
    suits = (not settings.vers or (entry.option("vers") or "").startswith(settings.vers)) and (
        not settings.sec or entry.option("sec") == settings.sec
    )
    return same and suits and "soft" not in entry.options


def why_not() -> str:
    """Why this process may not mount NFS; empty: it may."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            capabilities = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        capabilities = -1 if os.geteuid() == 0 else 0
    if not capabilities >> CAP_SYS_ADMIN & 1:
        return "mounting needs root (CAP_SYS_ADMIN)"
    if not tool("mount.nfs"):
        return "mount.nfs is not installed (Debian package nfs-common)"
    return ""


def tool(name: str) -> str | None:
    """The path of a program of the system, regardless of PATH; None: it is not installed."""
    return shutil.which(name, path=_SEARCH)


def require(name: str) -> str:
    """The path of a program of the system. Raises ``MountError`` if it is not installed."""
    found = tool(name)
    if found is None:
        raise MountError(f"{name} is not installed")
    return found
