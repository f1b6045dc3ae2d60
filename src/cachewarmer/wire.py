"""Messages as JSON that anyone may have written: typed reading that says which key is wrong, and packed file lists.

A message is an object with PascalCase keys, in ASCII, plain or base64. Paths are ``str`` decoded as UTF-8 with
``surrogateescape``: a lone surrogate stands for a byte that is no UTF-8, and survives as its JSON escape.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidMessage

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest message an Azure Storage Queue takes (REST reference, Put Message)."""
MAX_INFLATED_BYTES = 16 * 1024 * 1024
"""The most a compressed file list may inflate to: a message is hostile until shown otherwise."""
MAX_HANDLE_BYTES = 64
"""NFS3_FHSIZE (RFC 1813 section 2.4): a longer handle is no server's."""
MOST_FILES = 100_000
"""In one message."""
MOST_ADDRESSES = 256
"""In one message: each that is dead costs whoever tries it its time."""
MAX_ID = (1 << 32) - 1
"""The largest user or group id (AUTH_SYS, RFC 5531 appendix A)."""
MAX_PORT = (1 << 16) - 1
SHORT_LIST = 8
"""A file list no longer than this is sent readable."""
_ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,254}", re.ASCII)
"""A host's name, or an IPv4 or IPv6 address, this one without brackets."""


class FileEntry(NamedTuple):
    """One file to read."""

    path: str
    """Relative to the item's ``path``; empty: the item's path itself."""
    size: int
    """Bytes seen at the scan; no read goes past it."""
    handle: bytes = b""
    """NFSv3 file handle, good only at the item's ``address``; empty: resolve the path."""


def load_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a message, plain or base64 (Azure Storage Explorer offers both)."""
    try:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        if raw.lstrip()[:1] != b"{":
            try:
                raw = base64.b64decode(b"".join(raw.split()), validate=True)  # base64(1) breaks its lines
            except (binascii.Error, ValueError):
                raise InvalidMessage("neither a JSON object nor base64 of one") from None
        loaded = json.loads(raw.decode("utf-8", "strict"))
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise InvalidMessage(f"a JSON object was expected, not {type(loaded).__name__}")
    return loaded


class FieldReader:
    """Takes typed values out of a JSON object; says which key is at fault."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InvalidMessage(f"{key} has the wrong type: {type(value).__name__}")
        return value

    def text(self, key: str, default: str = "") -> str:
        value: str = self.take(key, str, default)
        if "\0" in value:
            raise InvalidMessage(f"{key} holds a NUL character")
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise InvalidMessage(f"{key} holds a character that no file name can hold") from None
        return value

    def path(self, key: str) -> str:
        """A path below something else, that can't lead out of it."""
        value = self.text(key)
        if climbs(value):
            raise InvalidMessage(f"{key} holds ..")
        return value

    def addresses(self, key: str) -> tuple[str, ...]:
        found = self.texts(key)
        if len(found) > MOST_ADDRESSES:
            raise InvalidMessage(f"{key} holds {len(found)} addresses: at most {MOST_ADDRESSES}")
        for one in found:
            if not _ADDRESS.fullmatch(one):
                raise InvalidMessage(f"{key}: {one[:100]!r} can't be an address")
        return found

    def number(self, key: str, default: int = 0, *, least: int = 0, most: int = (1 << 63) - 1) -> int:
        value: int = self.take(key, int, default)
        if not least <= value <= most:
            raise InvalidMessage(f"{key} is out of range")
        return value

    def real(self, key: str, default: float = 0.0) -> float:
        value = self.take(key, (int, float), default)
        if not -1e18 < value < 1e18:
            raise InvalidMessage(f"{key} is out of range")
        return float(value)

    def flag(self, key: str) -> bool:
        return bool(self.take(key, bool, False))

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.take(key, list, [])
        if not all(isinstance(one, str) for one in found):
            raise InvalidMessage(f"{key} must be a list of strings")
        return tuple(FieldReader({key: one}).text(key) for one in found)

    def ids(self, key: str) -> tuple[int, ...]:
        found = self.take(key, list, [])
        if len(found) > 16 or not all(type(one) is int and 0 <= one <= MAX_ID for one in found):
            raise InvalidMessage(f"{key} must be a list of at most 16 group ids")
        return tuple(found)


def climbs(path: str) -> bool:
    """Whether a path has a part ``..``."""
    return ".." in path and ".." in path.split("/")


def dump_object(values: Mapping[str, Any]) -> str:
    """The message text of an object: ASCII, without spaces."""
    return json.dumps(values, separators=(",", ":"))


def pack_files(files: Sequence[FileEntry]) -> dict[str, Any]:
    """The key and value for a file list: ``Files`` while it is short, else ``FilesDeflated`` (zlib, base64)."""
    rows = [(path, size, binascii.b2a_base64(handle, newline=False).decode()) for path, size, handle in files]
    if len(rows) <= SHORT_LIST:
        return {"Files": rows}
    deflated = zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), 1)
    return {"FilesDeflated": base64.b64encode(deflated).decode()}


def unpack_files(values: Mapping[str, Any]) -> tuple[FileEntry, ...] | None:
    """The file list of a message; None: it has none.

    Raises:
        InvalidMessage: it can't be read, or would inflate past ``MAX_INFLATED_BYTES``.
    """
    if "FilesDeflated" in values:
        return _inflate_files(FieldReader(values).text("FilesDeflated"))
    return _check_files(values["Files"]) if "Files" in values else None


def _inflate_files(text: str) -> tuple[FileEntry, ...]:
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text, validate=True), MAX_INFLATED_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise InvalidMessage("FilesDeflated inflates to more than it may, or is cut short")
        return _check_files(json.loads(raw))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise InvalidMessage(f"FilesDeflated can't be read: {error}") from error


def _check_files(rows: object) -> tuple[FileEntry, ...]:
    if not isinstance(rows, list) or len(rows) > MOST_FILES:
        raise InvalidMessage(f"Files must be a list of at most {MOST_FILES}")
    entries = []
    for row in rows:
        try:
            path, size, handle = row
            if not isinstance(path, str) or "\0" in path or type(size) is not int or not 0 <= size < 1 << 63:
                raise ValueError(path)
            if climbs(path):
                raise InvalidMessage("Files holds a path with ..")
            path.encode("utf-8", "surrogateescape")
            raw = binascii.a2b_base64(handle, strict_mode=True) if handle else b""
            if len(raw) > MAX_HANDLE_BYTES:
                raise ValueError(handle)
            entries.append(FileEntry(path, size, raw))
        except (TypeError, ValueError, binascii.Error) as error:
            raise InvalidMessage("Files must hold [path, size, handle in base64, at most 64 bytes]") from error
    return tuple(entries)
