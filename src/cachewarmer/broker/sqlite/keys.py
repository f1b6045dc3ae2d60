"""The keys of a job's items in the file, by which neighbouring items are close to each other in the index. Pure.

The id of an item is a hash. In a large index sorted by id, each new item of a batch would be on a page of its own, and
all of those pages would be written: six times the bytes, at a million items. Items are published in the order of a
walk, so keys that begin with the path put a batch on few pages.
"""

from __future__ import annotations

from typing import Any

from cachewarmer.model import WorkItem

ID_BYTES = 16
"""Length in bytes of an id that this program made."""
PATH_BYTES = 200
"""Maximum length in bytes of the path in a key: enough to keep neighbours together in a small index."""
MOST_DIGITS = 18
"""Maximum number of digits of a row number: more might not fit into a column."""


def key_of(item: WorkItem, *, near: bool) -> str | bytes:
    """The key of an item that has an id. Without ``near``, as for jobs of earlier versions, it is the id itself.

    An id that this program did not make is the whole key too, because it may come with another path and still means
    the same item.
    """
    raw = _raw(item.item_id) if near else None
    if raw is None:
        return item.item_id
    return item.path.encode("utf-8", "surrogatepass")[:PATH_BYTES] + b"\0" + raw


def id_in(key: Any) -> str:
    """The id in a key, which may hold anything."""
    return key[-ID_BYTES:].hex() if isinstance(key, bytes) else str(key)


def _raw(item_id: str) -> bytes | None:
    """The bytes of an id that this program may have made; None: it has another form."""
    try:
        raw = bytes.fromhex(item_id)
    except ValueError:
        return None
    return raw if len(raw) == ID_BYTES and raw.hex() == item_id else None


def token_of(seq: int, secret: str) -> str:
    """The token of a lease. It holds the number of the row, so that the row is found without an index."""
    return f"{seq}.{secret}"


def row_of(token: str) -> int:
    """The number of the row in the token of a lease; -1: the token is not valid."""
    seq, _, secret = token.partition(".")
    return int(seq) if secret and seq.isascii() and seq.isdigit() and len(seq) <= MOST_DIGITS else -1
