"""Shares a scan's work items out among the mount addresses.

A directory is listed at one address, whose handles its files then carry; the items of a huge directory, or the ranges of
one large file, would all be read there. An item that would make the shares too uneven goes to the address with the least
to read, without its handles: they are good at their own address alone, and the reader looks the paths up. Neither is part
of an item's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.model import WorkItem

FILE_BYTES = 64 * 1024
"""What a file counts beside its size: small files take time by their number."""
SLACK = 0.1
"""How uneven the shares may be, as a part of all."""


class Balance:
    """How much should be read through each address."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._load = dict.fromkeys(addresses, 0)

    def placed(self, item: WorkItem) -> WorkItem:
        """The item, for the address where it should be read."""
        load = self._load
        cost = item.byte_count + (FILE_BYTES * item.file_count if item.start < 0 else 0)
        least = min(load, key=load.__getitem__)
        if load.get(item.address, 0) > load[least] + SLACK * sum(load.values()):
            files = tuple(one._replace(handle=b"") for one in item.files or ())
            item = replace(item, address=least, files=files)
        load[item.address] = load.get(item.address, 0) + cost
        return item
