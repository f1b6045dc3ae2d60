"""Messages as JSON that anyone may have written: typed reading that says which key is wrong, and packed file lists.

A message is an object with PascalCase keys, in ASCII, plain or base64. Paths are ``str`` as ``paths.to_text`` makes
them: a lone surrogate stands for a byte that isn't UTF-8, and survives as its JSON escape.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidMessage, InvalidValue
from cachewarmer.paths import ENCODING, ERRORS, climbs, to_bytes

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest message an Azure Storage Queue takes (REST reference, Put Message)."""
MAX_INFLATED_BYTES = 16 * 1024 * 1024
"""The most a compressed file list may inflate to: a message is hostile until shown otherwise."""
MAX_HANDLE_BYTES = 64
"""NFS3_FHSIZE (RFC 1813 section 2.4): no server has a longer handle."""
MOST_FILES = 100_000
"""In one message."""
MAX_ID = (1 << 32) - 1
"""The largest user or group id (AUTH_SYS, RFC 5531 appendix A)."""
MAX_GIDS = 16
"""Supplementary groups that AUTH_SYS carries (RFC 5531 appendix A)."""
MAX_PORT = (1 << 16) - 1
ROW_PROBLEM = "must hold [path, size, handle in base64, at most 64 bytes]"
_ROW = rb'\["((?:[^"\\\x00-\x1f\x80-\xff]|\\[^\n])*)",(\d{1,19}),"([A-Za-z0-9+/=]{0,88})"\]'
"""A row of a packed list as ``pack_files`` writes it: JSON in ASCII without spaces."""
PLAIN_TOKENS = 1 << 16
"""Commas and opening brackets up to which a packed list is parsed in one go."""
TIMES_BYTES = 16
"""Of a file: mtime and ctime, two doubles."""
SHORT_LIST = 8
"""A file list no longer than this is sent readable."""


class FileEntry(NamedTuple):
    """One file to read."""

    path: str
    """Relative to the item's ``path``; empty: the item's path itself."""
    size: int
    """Bytes seen at the scan; no read goes past it."""
    handle: bytes = b""
    """NFSv3 file handle, good only at the item's ``address``; empty: resolve the path."""


def load_object(text: str | bytes) -> FieldReader:
    """The JSON object in a message, plain or base64 (Azure Storage Explorer offers both).

    Raises:
        InvalidMessage: it is neither.
    """
    try:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        if raw.lstrip()[:1] != b"{":
            try:
                raw = base64.b64decode(b"".join(raw.split()), validate=True)  # base64(1) breaks its lines
            except (binascii.Error, ValueError):
                raise InvalidMessage("neither a JSON object nor base64 of one") from None
        loaded = json.loads(raw.decode("utf-8", "strict"), object_pairs_hook=_folded, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise InvalidMessage(f"a JSON object was expected, not {type(loaded).__name__}")
    return FieldReader(loaded)


def _folded(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object by the rules of Go's encoding/json: case does not matter in keys, the last of several counts, and a null
    changes nothing but a list, which it empties.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = fold(key)
        if value is not None or isinstance(values.get(name), list):
            values[name] = [] if value is None else value
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def fold(key: str) -> str:
    """A key as it is compared: without regard to case, as Go folds ASCII (two letters outside it fold into it)."""
    return key.lower() if key.isascii() else key.lower().replace("\u017f", "s")


class FieldReader:
    """Takes typed values out of a JSON object; says which key is at fault by ``InvalidValue``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {fold(key): value for key, value in values.items()}
        """By the keys as ``fold`` makes them."""

    def __contains__(self, key: str) -> bool:
        return fold(key) in self.values

    def remove(self, key: str) -> Any:
        """The value as it is, which then is no longer there; None: there was none."""
        return self.values.pop(fold(key), None)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(fold(key))
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InvalidValue(f"{key} has the wrong type: {type(value).__name__}")
        return value

    def text(self, key: str, default: str = "") -> str:
        value: str = self.take(key, str, default)
        _check_text(key, value)
        return value

    def path(self, key: str, default: str = "") -> str:
        """A path below something else, that can't lead out of it."""
        value = self.text(key, default)
        if climbs(value):
            raise InvalidValue(f"{key} holds ..")
        return value

    def choice(self, key: str, default: StrEnum, *, choices: type[StrEnum]) -> StrEnum:
        """One of a few words."""
        value = self.text(key, default)
        try:
            return choices(value)
        except ValueError:
            raise InvalidValue(f"{key} must be one of {', '.join(choices)}, not {value[:100]!r}") from None

    def number(self, key: str, default: int = 0, *, least: int = 0, most: int = (1 << 63) - 1) -> int:
        value: int = self.take(key, int, default)
        if not least <= value <= most:
            raise InvalidValue(f"{key} must be a number from {least} to {most}, not {_shown(value)}")
        return value

    def real(self, key: str, default: float = 0.0) -> float:
        value = self.take(key, (int, float), default)
        if not -1e18 < value < 1e18:
            raise InvalidValue(f"{key} is out of range")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self.take(key, bool, default))

    def texts(self, key: str, default: Sequence[str] = (), *, most: int = 1 << 16) -> tuple[str, ...]:
        found = self.take(key, list, list(default))
        if len(found) > most:
            raise InvalidValue(f"{key} holds {len(found)} values: at most {most}")
        found = ["" if one is None else one for one in found]  # as Go does
        if not all(isinstance(one, str) for one in found):
            raise InvalidValue(f"{key} must be a list of strings")
        for one in found:
            _check_text(key, one)
        return tuple(found)

    def ids(self, key: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        found = self.take(key, list, list(default))
        if len(found) > MAX_GIDS or not all(type(one) is int and 0 <= one <= MAX_ID for one in found):
            raise InvalidValue(f"{key} must be a list of at most {MAX_GIDS} group ids")
        return tuple(found)


def _check_text(key: str, value: str) -> None:
    if "\0" in value:
        raise InvalidValue(f"{key} holds a NUL character")
    try:
        to_bytes(value)
    except UnicodeEncodeError:
        raise InvalidValue(f"{key} holds a character that no file name can hold") from None


def _shown(value: int) -> str:
    return str(value) if abs(value) < 1 << 80 else "a far larger one"


def dump_object(values: Mapping[str, Any] | Sequence[Any]) -> str:
    """The message text of an object, or of a list: ASCII, without spaces."""
    return json.dumps(values, separators=(",", ":"))


def pack_files(files: Sequence[FileEntry]) -> dict[str, Any]:
    """The key and value for a file list: ``Files`` while it is short, else ``FilesDeflated`` (zlib, base64)."""
    encode = binascii.b2a_base64
    if len(files) > SHORT_LIST:
        # As ``dump_object`` would write them: put together here it takes half of the time, and files are many.
        rows = [f'[{quoted(path)},{size},"{encode(handle, newline=False).decode()}"]' for path, size, handle in files]
        raw = f"[{','.join(rows)}]".encode("ascii")
        if len(raw) <= MAX_INFLATED_BYTES:
            return {"FilesDeflated": _deflated(raw)}
    return {"Files": [(path, size, encode(handle, newline=False).decode()) for path, size, handle in files]}


def _deflated(raw: bytes) -> str:
    deflated = zlib.compress(raw, 1)
    if len(raw) > _may_inflate_to(deflated):
        deflated = zlib.compress(raw, 0)
    return base64.b64encode(deflated).decode()


def unpack_files(read: FieldReader) -> tuple[FileEntry, ...] | None:
    """The file list of a message; None: it has none.

    Raises:
        InvalidMessage: it can't be read, or would inflate past what its length allows.
    """
    key = "FilesDeflated" if "FilesDeflated" in read else "Files"
    if key not in read:
        return None
    try:
        rows = _inflated_rows(read.text(key)) if key == "FilesDeflated" else read.take(key, list, [])
        return _entries(rows)
    except (binascii.Error, zlib.error, TypeError, ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, _FilesError) else f"can't be read: {error}"[:200]
    raise InvalidMessage(f"{key} {problem}")  # here, where nothing holds what was inflated


def pack_times(times: bytes) -> dict[str, Any]:
    """The key and value for the times of a file list: as many times two little-endian doubles as it has files."""
    return {"FileTimes": base64.b64encode(zlib.compress(times, 1)).decode()} if times else {}


def unpack_times(read: FieldReader, files: int) -> bytes:
    """The times of a file list of this many files, as they were packed; empty: the message has none.

    Raises:
        InvalidMessage: they can't be read, or are those of another number of files.
    """
    text = read.text("FileTimes")
    if not text:
        return b""
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text, validate=True), files * TIMES_BYTES + 1)
        if len(raw) == files * TIMES_BYTES and inflater.eof:
            if math.isfinite(sum(struct.unpack(f"<{len(raw) // 8}d", raw))):  # one that is not finite spoils the sum
                return raw
            raise InvalidMessage("FileTimes holds something that is not a time")
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidMessage(f"FileTimes can't be read: {str(error)[:100]}") from None
    raise InvalidMessage(f"FileTimes does not hold the times of {files} files")


class _FilesError(ValueError):
    """What is wrong with a file list, after the name of its key."""


def _may_inflate_to(deflated: bytes) -> int:
    """The most bytes that a packed list may have: lists of paths shrink well, but not as a bomb does."""
    return min(MAX_INFLATED_BYTES, 256 * 1024 + 150 * len(deflated))


def _inflated_rows(text: str) -> Iterable[Any]:
    """The rows of a packed list. A list that could make many objects is read row by row, so that the first wrong row
    ends it: ``json`` would build all of them first.
    """
    deflated = base64.b64decode(text, validate=True)
    inflater = zlib.decompressobj()
    raw = inflater.decompress(deflated, _may_inflate_to(deflated))
    if inflater.unconsumed_tail or not inflater.eof:
        raise _FilesError("inflates to more than it may, or is cut short")
    if len(raw) > PLAIN_TOKENS and len(raw) - len(raw.translate(None, b",[{")) > PLAIN_TOKENS:
        return _rows_one_by_one(raw)
    rows = json.loads(raw)
    if not isinstance(rows, list):
        raise _FilesError("must be a list")
    return rows


def _rows_one_by_one(raw: bytes) -> Iterator[tuple[str, int, bytes]]:
    at, pattern = 0, re.compile(_ROW)
    while raw[at : at + 1] == (b"," if at else b"["):
        row = pattern.match(raw, at + 1)
        if row is None:
            raise _FilesError(ROW_PROBLEM)
        name, size, handle = row.groups()
        yield json.loads(b'"%b"' % name), int(size), handle
        at = row.end()
    if raw[at:] != b"]":
        raise _FilesError("must be a list")


def _entries(rows: Iterable[Any]) -> tuple[FileEntry, ...]:
    entries = []
    new = tuple.__new__  # a named tuple's own __new__ is a function of Python
    decode = binascii.a2b_base64
    for row in rows:
        try:
            path, size, handle = row
            if "\0" in path or type(size) is not int or not 0 <= size < 1 << 63:
                raise ValueError(path)
            if ".." in path and climbs(path):
                raise _FilesError("holds a path with ..")
            if not path.isascii():
                path.encode(ENCODING, ERRORS)
            raw = decode(handle, strict_mode=True) if handle else b""
            if len(raw) > MAX_HANDLE_BYTES:
                raise ValueError(handle)
            entries.append(new(FileEntry, (path, size, raw)))
        except _FilesError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise _FilesError(ROW_PROBLEM) from error
        if len(entries) > MOST_FILES:
            raise _FilesError(f"holds more than {MOST_FILES} files")
    return tuple(entries)
