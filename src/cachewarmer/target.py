"""Parses what people write: targets, sizes and times. Pure.

A TARGET is a path of this machine, ``ADDR[,ADDR…]:/PATH`` as mount(8) writes it, or
``nfs://ADDR[,ADDR…]/PATH[?nfsport=&mountport=&uid=&gid=&gids=&export=]`` (RFC 2224 gave the scheme its form).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote_to_bytes

from cachewarmer.errors import UsageError
from cachewarmer.filters import FileFilter
from cachewarmer.model import WarmJob

_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]")
_MOUNT_FORM = re.compile(r"((?:\[[^\]]*\]|[^/:\[\]]+)(?:,(?:\[[^\]]*\]|[^/:\[\]]+))*):(/.*)", re.DOTALL)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MOST_ID = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed TARGET. ``addresses`` is empty for a path of this machine, which ``path`` then gives, absolute."""

    addresses: tuple[str, ...] = ()
    """IPv6 addresses without their brackets."""
    export: str = ""
    path: str
    """Below ``export``; the whole path where that is empty."""
    nfs_port: int = 0
    mount_port: int = 0
    uid: int = -1
    gid: int = -1
    gids: tuple[int, ...] = ()

    @property
    def is_local(self) -> bool:
        return not self.addresses


def parse_target(text: str) -> Target:
    """Parses a TARGET as a person writes it.

    Raises:
        UsageError: says what is wrong with it.
    """
    if not text or "\0" in text:
        raise UsageError("the target is empty" if not text else "a target can't hold a NUL character")
    if text.lower().startswith("nfs://"):
        return _parse_url(text)
    if re.match(r"[A-Za-z]+://", text):
        raise UsageError(f"{text}: the only scheme known is nfs://")
    found = None if text.startswith(("/", ".", "~")) else _MOUNT_FORM.fullmatch(text)
    if found:
        return Target(addresses=parse_addresses(found[1], text), path=clean_path(found[2]))
    return Target(path=os.path.realpath(os.path.expanduser(text)))


def parse_addresses(text: str, where: str) -> tuple[str, ...]:
    """The mount addresses of a comma-separated list, each once, in order.

    Raises:
        UsageError: one is empty or can't be an address.
    """
    found: dict[str, None] = {}
    for address in text.split(","):
        if not _ADDRESS.fullmatch(address.strip()):
            raise UsageError(f"{where}: {address!r} can't be a mount address (an IPv6 address stands in [ ])")
        found[address.strip().strip("[]")] = None
    return tuple(found)


def _parse_url(text: str) -> Target:
    rest, _, query = text[len("nfs://") :].partition("?")
    host, slash, raw_path = rest.partition("/")
    if not host:
        raise UsageError(f"{text}: an address is missing: nfs://ADDRESS[,ADDRESS…]/PATH")
    path = unquote_to_bytes(raw_path.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    if not slash:
        path = ""
    if "\0" in path:
        raise UsageError(f"{text}: a path can't hold a NUL character")
    values: dict[str, int] = {}
    export = ""
    gids: tuple[int, ...] = ()
    port = re.fullmatch(r"((?:\[[^\]]*\]|[^:\[\]]+)):(\d+)", host)
    if port:
        host = port[1]
        values["nfsport"] = _number(text, "port", port[2], 65535)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="surrogateescape")
    except ValueError as error:
        raise UsageError(f"{text}: what follows the ? must be KEY=VALUE[&KEY=VALUE…]") from error
    for key, value in pairs:
        if key in ("nfsport", "mountport"):
            values[key] = _number(text, key, value, 65535)
        elif key in ("uid", "gid"):
            values[key] = _number(text, key, value, _MOST_ID)
        elif key == "gids":
            gids = tuple(_number(text, key, one, _MOST_ID) for one in value.split(","))
            if len(gids) > 16:
                raise UsageError(f"{text}: AUTH_SYS carries at most 16 gids")
        elif key == "export":
            export = clean_path(value)
        else:
            raise UsageError(f"{text}: unknown key {key!r} (known: nfsport, mountport, uid, gid, gids, export)")
    path = clean_path(path)
    if export not in ("", "/"):
        if path != export and not path.startswith(export + "/"):
            raise UsageError(f"{text}: the path is not below the export {export}")
        path = clean_path(path[len(export) :])
    return Target(
        addresses=parse_addresses(host, text),
        export=export,
        path=path,
        nfs_port=values.get("nfsport", 0),
        mount_port=values.get("mountport", 0),
        uid=values.get("uid", -1),
        gid=values.get("gid", -1),
        gids=gids,
    )


def _number(text: str, key: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) <= most):
        raise UsageError(f"{text}: {key} must be a number up to {most}, not {value!r}")
    return int(value)


def clean_path(path: str) -> str:
    """The path with one leading slash, single slashes, and no ``.`` parts.

    Raises:
        UsageError: it holds ``..``, whose meaning belongs to the server.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"{path}: a path can't hold ..")
    return "/" + "/".join(parts)


def make_job(
    target: Target,
    *,
    name: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_file_bytes: int = 0,
    min_file_bytes: int = 0,
    newer_than: float = 0.0,
    transport: str = "auto",
    max_bandwidth: int = 0,
    has_file_list: bool = False,
) -> WarmJob:
    """The job for a target and its filters; patterns are checked here, so that a wrong one is told at once.

    Raises:
        UsageError: a pattern is malformed, or the transport does not fit the target.
    """
    FileFilter(include, exclude)
    if transport not in ("auto", "nfs", "mount", "local"):
        raise UsageError(f"--transport must be auto, nfs, mount or local, not {transport}")
    if target.is_local:
        if transport in ("nfs", "mount"):
            raise UsageError(f"{target.path} is a path of this machine: --transport {transport} needs ADDRESS:/PATH")
        transport = "local"
    elif transport == "local":
        raise UsageError("--transport local needs a path of this machine")
    return WarmJob(
        mount_addresses=target.addresses,
        export_path=target.export,
        warm_path=target.path,
        inclusion=tuple(include),
        exclusion=tuple(exclude),
        max_file_bytes=max_file_bytes,
        min_file_bytes=min_file_bytes,
        newer_than=newer_than,
        name=name,
        transport=transport,
        max_bandwidth=max_bandwidth,
        nfs_port=target.nfs_port,
        mount_port=target.mount_port,
        uid=target.uid,
        gid=target.gid,
        gids=target.gids,
        has_file_list=has_file_list,
    )


def parse_size(text: str) -> int:
    """Bytes from ``4096``, ``500M`` or ``2GiB``: a letter alone and ``KiB`` are powers of 1024, ``KB`` of 1000.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size: write 4096, 500M, 2GiB or 1.5GB")
    letter = (found[2] or "").lower()
    base = 1000 if letter and not found[3] and text.strip()[-1] in "bB" else 1024
    value = float(found[1]) * base ** _POWERS.get(letter, 0)
    if value >= 1 << 63:
        raise UsageError(f"{text!r} is too large a size")
    return int(value)


def parse_time(text: str, now: float) -> float:
    """Unix seconds from a date, a date and time (local unless it names a zone), ``@SECONDS``, or an age as in ``3d``.

    ``now`` is in Unix seconds.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    age = _AGE.fullmatch(text)
    if age:
        return max(0.0, now - float(age[1]) * _AGE_SECONDS[age[2]])
    try:
        if text.startswith("@"):
            return float(int(text[1:]))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is no time: write 2026-11-01, 2026-11-01T08:00, 3d or 12h") from None
