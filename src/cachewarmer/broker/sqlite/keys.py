"""The keys of a job's items in the file: items that are close to each other have keys that are, too. Pure.

An item's id is a hash. An index in the order of ids has each new item on a page of its own once the index is large, and
all of those pages are written with each batch: six times the bytes, at a million items. Items are published as a
walk comes by them, so keys that begin with the path put a batch on few pages.
"""

from __future__ import annotations

from typing import Any

from cachewarmer.model import WorkItem

ID_BYTES = 16
"""Length of an id that the program made itself."""
PATH_BYTES = 200
"""Length of the path in a key: enough to keep neighbours together, without making the index too large."""
MOST_DIGITS = 18
"""Of a row's number: more might not fit into a column."""


def key_of(item: WorkItem, *, near: bool) -> str | bytes:
    """The key of an item with an id; without ``near``, as jobs of earlier versions have it: the id.

    An id that somebody else chose is the whole key: it may come with another path, and is the same item.
    """
    raw = _raw(item.item_id) if near else None
    if raw is None:
        return item.item_id
    return item.path.encode("utf-8", "surrogatepass")[:PATH_BYTES] + b"\0" + raw


def id_in(key: Any) -> str:
    """The id of the item that has this key, whatever is in the file."""
    return key[-ID_BYTES:].hex() if isinstance(key, bytes) else str(key)


def _raw(item_id: str) -> bytes | None:
    """The bytes of an id that may be one of our own."""
    try:
        raw = bytes.fromhex(item_id)
    except ValueError:
        return None
    return raw if len(raw) == ID_BYTES and raw.hex() == item_id else None


def token_of(seq: int, secret: str) -> str:
    """The token of a lease: it says which row it is of, so that none is looked for in an index."""
    return f"{seq}.{secret}"


def row_of(token: str) -> int:
    """The row that a lease with this token is of; -1: the token is not one of this file."""
    seq, _, secret = token.partition(".")
    return int(seq) if secret and seq.isascii() and seq.isdigit() and len(seq) <= MOST_DIGITS else -1
