"""Parses what people write: targets, sizes and times. Pure.

A TARGET is a path of this machine, ``ADDR[,ADDR…]:/PATH`` as mount(8) writes it, or
``nfs://ADDR[,ADDR…]/PATH[?nfsport=&mountport=&uid=&gid=&gids=&export=&resolve=]`` (RFC 2224 gave the scheme its
form).
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from cachewarmer.errors import InvalidValue, UsageError
from cachewarmer.filters import FileFilter
from cachewarmer.model import Access, Bandwidth, Priority, Transport, Wanted, WarmJob, check_address
from cachewarmer.model.access import access_parameters
from cachewarmer.paths import ENCODING, ERRORS, below, holds, join, parts, to_bytes, to_text
from cachewarmer.values import dataclass

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_PORT = re.compile(r"(.*):([0-9]{1,5})", re.DOTALL)
_SIZE = r"(?i)(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?)b?|b)?"
_RATE = r"(?i)(\d+(?:\.\d+)?\s*[kmgt]?)(i?)bits?(?:/s|ps)?|(.+?)(?:/s)?"
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_AGE = r"(\d+(?:\.\d+)?)([smhdw])"
_SPAN_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
FORMS = "ADDRESS[,ADDRESS...]:/PATH, nfs://ADDRESS/PATH, or a path of this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed TARGET."""

    access: Access
    path: str
    """Below the export; the whole path where that is not named; absolute, for a path of this machine."""
    resolve_first: bool = False
    """A host name stands for one of its addresses, not for all of them (``?resolve=first``)."""

    @property
    def is_local(self) -> bool:
        return self.access.is_local


def parse_target(text: str) -> Target:
    """Parses a TARGET as a person writes it, in linear time.

    Raises:
        UsageError: says what is wrong with it, and what may have been meant.
    """
    if "\0" in text:
        raise UsageError("a target can't hold a NUL character")
    if not text.strip() and not os.path.lexists(text):
        raise UsageError("the target is empty")
    try:
        to_bytes(text)
    except UnicodeEncodeError:
        raise UsageError("the target holds a character that no path can hold") from None
    try:
        scheme = _SCHEME.match(text)
        if scheme:
            return _parse_url(text, scheme[1])
        hosts, colon, path = text.partition(":/")
        if colon and "/" not in hosts and not text.startswith((".", "~")):
            return Target(access=Access(addresses=parse_addresses(hosts)), path=clean_path(path))
        if not os.path.lexists(os.path.expanduser(text)):
            _check_not_mistyped(text)
    except InvalidValue as error:
        raise UsageError.like(error).fill(subject=to_bytes(text)) from error
    path = os.path.realpath(os.path.expanduser(text))
    return Target(access=Access(transport=Transport.LOCAL), path=path)


def parse_addresses(text: str) -> tuple[str, ...]:
    """The mount addresses of a comma-separated list, each once, in order.

    Raises:
        InvalidValue: one is empty, or can't be an address.
    """
    found: dict[str, None] = {}
    for one in text.split(","):
        address = one.strip()
        bracketed = address.startswith("[") and address.endswith("]")
        if bracketed and ":" in address:
            address = address[1:-1]
        elif ":" in address:
            raise _unbracketed(address)
        check_address(address)
        found[address] = None
    return tuple(found)


def _unbracketed(address: str) -> InvalidValue:
    """The error for an address with a colon that stands in no brackets: a port, or an IPv6 address."""
    port = _PORT.fullmatch(address)
    if port and ":" not in port[1]:
        return InvalidValue("a port is not allowed here", advice=f"write nfs://{address}/PATH")
    try:
        check_address(address)
    except InvalidValue as error:
        return error
    return InvalidValue("an IPv6 address stands in brackets", advice=f"write [{address}]")


def _check_not_mistyped(text: str) -> None:
    """Raises ``InvalidValue`` for what isn't a path here but looks like an address.

    Only a hint: what has a slash is a path, unless an IP address or a misspelt scheme stands before it.
    """
    if "\\" in text:
        raise InvalidValue("there is no file or directory of that name here", advice=f"a target is {FORMS}")
    if text.startswith("nfs//"):
        raise InvalidValue("there is no file or directory of that name here", advice=f"did you mean nfs://{text[5:]}?")
    first, slash, rest = text.partition("/")
    if slash and _is_ip_address(first):
        raise InvalidValue("no such file or directory on this machine", advice=f"did you mean {first}:/{rest}?")
    if "/" in text.partition(":")[0] or text.startswith((".", "~")):
        return
    host, colon, path = text.partition(":")
    if colon:
        raise InvalidValue(
            "no such file here; after an address, the path must be absolute",
            advice=f"did you mean {host}:/{path.lstrip('/')}?",
        )
    hint = f"did you mean {text}:/PATH?" if len(text) < 200 else f"a target must be {FORMS}"
    raise InvalidValue("no such file or directory on this machine", advice=hint)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _parse_url(text: str, scheme: str) -> Target:
    if scheme.lower() != "nfs":
        raise InvalidValue(f"{scheme}:// can't be warmed", advice=f"a target must be {FORMS}")
    rest, _, query = text[len("nfs://") :].partition("?")
    hosts, _, raw_path = rest.partition("/")
    if not hosts:
        raise InvalidValue("the address is missing", advice="write nfs://ADDRESS[,ADDRESS...]/PATH")
    path = to_text(unquote_to_bytes(to_bytes(raw_path)))
    if "\0" in path:
        raise InvalidValue("a path can't hold a NUL character")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), encoding=ENCODING, errors=ERRORS)
    except ValueError:
        raise InvalidValue("the part after ? must be KEY=VALUE[&KEY=VALUE...]") from None
    values = dict(pairs)
    export = clean_path(values.pop("export")) if "export" in values else ""
    resolve = values.pop("resolve", "all")
    if resolve not in ("all", "first"):
        raise InvalidValue("resolve must be all or first")
    port = _PORT.fullmatch(hosts)
    if port and (port[1].endswith("]") or ":" not in port[1]):
        hosts = port[1]
        values.setdefault("nfsport", port[2])
    path = clean_path(path)
    if export not in ("", "/"):
        if not holds(export, path):
            raise InvalidValue(f"the path is not below the export {export}")
        path = below(export, path)
    access = Access(addresses=parse_addresses(hosts), export=export, **_parameters(values))
    return Target(access=access, path=path, resolve_first=resolve == "first")


def _parameters(values: dict[str, str]) -> dict[str, Any]:
    try:
        return access_parameters(values)
    except InvalidValue as error:
        error.advice = error.advice or "export=PATH names the export"
        raise


def clean_path(path: str) -> str:
    """The path with one leading slash, single slashes, and no ``.`` parts.

    Raises:
        InvalidValue: it holds ``..``, whose meaning belongs to the server.
    """
    found = parts(path)
    if ".." in found:
        raise InvalidValue("a path can't hold ..")
    return join(*found)


def make_job(
    target: Target,
    wanted: Wanted = Wanted(),  # noqa: B008  # frozen
    *,
    transport: Transport = Transport.AUTO,
    name: str = "",
    bandwidth: Bandwidth = Bandwidth(),  # noqa: B008  # frozen
    has_file_list: bool = False,
    priority: Priority = Priority.NORMAL,
) -> WarmJob:
    """The job for a target and the files wanted of it; patterns are checked here, so that a wrong one is told at once.

    Raises:
        UsageError: a pattern is malformed, or the transport does not fit the target.
    """
    FileFilter.of(wanted)
    access = target.access
    if target.is_local and transport not in (Transport.AUTO, Transport.LOCAL):
        raise UsageError(
            f"it is a local path, which --transport {transport} can't read",
            subject=to_bytes(target.path),
            advice="write ADDRESS:/PATH",
        )
    if not target.is_local:
        try:
            access = replace(access, transport=Transport(transport))
        except InvalidValue as error:
            raise UsageError.like(error) from error
    return WarmJob(
        access=access,
        wanted=wanted,
        warm_path=target.path,
        name=name,
        **bandwidth.fields,
        has_file_list=has_file_list,
        priority=priority,
    )


def parse_size(text: str) -> int:
    """Bytes from ``4096``, ``500M`` or ``2GiB``: a letter alone and ``KiB`` are powers of 1024, ``KB`` of 1000.

    Raises:
        UsageError: it is not a size.
    """
    found = re.fullmatch(_SIZE, text.strip())
    if not found:
        raise UsageError(f"{text!r} is not a valid size: write 4096, 500M, 2GiB or 1.5GB")
    letter = (found[2] or "").lower()
    base = 1000 if letter and not found[3] and text.strip()[-1] in "bB" else 1024
    value = float(found[1]) * base ** _POWERS.get(letter, 0)
    if value >= 1 << 63:
        raise UsageError(f"{text!r} is too large a size")
    return int(value)


def parse_rate(text: str) -> int:
    """Bytes per second from ``200M``, ``100MB/s`` (a size, see ``parse_size``), ``800Mbit`` or ``2.5Gbit/s``.

    Bits are counted in powers of 1000, as networks are, and ``Mibit`` in powers of 1024. 0 means no limit.

    Raises:
        UsageError: it is not a rate, or less than a byte per second.
    """
    found = re.fullmatch(_RATE, text.strip())
    try:
        if found is None:
            raise UsageError("")
        if found[1] is None:
            return parse_size(found[3])
        prefix = found[1].rstrip()
        scaled = prefix[-1].isalpha()
        if found[2] and not scaled:
            raise UsageError("")
        bits = parse_size(prefix if found[2] or not scaled else prefix + "B")
    except UsageError:
        raise UsageError(f"{text!r} is not a valid rate: write 200M, 100MB/s or 800Mbit") from None
    if 0 < bits < 8:
        raise UsageError(f"{text!r} is less than a byte per second")
    return bits // 8


def parse_bandwidth(text: str) -> Bandwidth:
    """A rate (see ``parse_rate``) or ``none``, or rates by the hour: ``08:00-20:00=200Mbit,=2Gbit``.

    Raises:
        UsageError: it is neither.
    """
    try:
        return Bandwidth.parse(text.strip(), lambda rate: 0 if rate.strip() == "none" else parse_rate(rate))
    except InvalidValue as error:
        raise UsageError.like(error) from error


def parse_span(text: str) -> float:
    """Seconds from a number of them, or from a number with a unit: ``90``, ``15m``, ``2h``.

    Raises:
        UsageError: it is neither.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SPAN_SECONDS else (text, "s")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise UsageError(f"{number!r} is not a number of seconds")
    return value * _SPAN_SECONDS[unit]


def parse_time(text: str, now: float) -> float:
    """Unix seconds from a date, a date and time (local unless it names a zone), ``@SECONDS``, or an age as in ``3d``.

    ``now`` is in Unix seconds.

    Raises:
        UsageError: it isn't one of these.
    """
    text = text.strip()
    age = re.fullmatch(_AGE, text)
    if age:
        return max(0.0, now - float(age[1]) * _AGE_SECONDS[age[2]])
    try:
        if text.startswith("@"):
            return float(int(text[1:]))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is not a valid time: write 2026-11-01, 2026-11-01T08:00, 3d or 12h") from None
