"""Divides the work items of a scan among the mount addresses.

A directory is listed at one address, and its files carry the handles of that address, so all items of a huge directory,
and all ranges of one large file, would be read there. An item that would make the shares too uneven goes to the address
with the least to read instead. It loses its handles, which are valid only at their own address, and the reader looks up
its paths. Neither the address nor the handles are part of an item's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.model import WorkItem

FILE_BYTES = 64 * 1024
"""Added to the size of each file, because the time that small files take depends on their number."""
SLACK = 0.1
"""How far the share of an address may exceed the smallest, as a fraction of all that is planned."""


class Balance:
    """How much is planned to be read through each address."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._load = dict.fromkeys(addresses, 0)

    def placed(self, item: WorkItem) -> WorkItem:
        """Returns the item with the address where it should be read, and adds it to the share of that address."""
        load = self._load
        cost = item.byte_count + (FILE_BYTES * item.file_count if item.start < 0 else 0)
        least = min(load, key=load.__getitem__)
        if load.get(item.address, 0) > load[least] + SLACK * sum(load.values()):
            files = tuple(one._replace(handle=b"") for one in item.files or ())
            item = replace(item, address=least, files=files)
        load[item.address] = load.get(item.address, 0) + cost
        return item
