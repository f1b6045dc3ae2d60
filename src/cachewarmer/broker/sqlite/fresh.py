"""Items that this process has published and not yet claimed: it need not read them from their messages. Pure.

A command on one machine publishes and claims the same items within seconds. To inflate and check what it has just
written would take a tenth of its time.
"""

from __future__ import annotations

from cachewarmer.model import WorkItem

MOST_FILES = 32_768
"""In all items that are kept: some 10 MB."""


class FreshItems:
    """Items in the order in which they were published, with their messages; no more than ``most_files`` of them."""

    def __init__(self, most_files: int = MOST_FILES) -> None:
        self._most_files = most_files
        self._files = 0
        self._kept: dict[tuple[str, str | bytes], tuple[str, WorkItem]] = {}

    def __repr__(self) -> str:
        return f"<FreshItems items={len(self._kept)} files={self._files}>"

    def add(self, job_id: str, key: str | bytes, message: str, item: WorkItem) -> None:
        """An item was published. It isn't kept where there is no room: those before it are claimed first."""
        files = len(item.files or ())
        if self._files + files <= self._most_files and (job_id, key) not in self._kept:
            self._kept[job_id, key] = (message, item)
            self._files += files

    def take(self, job_id: str, key: str | bytes, message: str) -> WorkItem | None:
        """The item of a message that is about to be delivered; None: it must be read. Those published before it are let
        go: somebody else has them, or they come later and are read then.
        """
        if (job_id, key) not in self._kept:
            return None
        while True:
            place = next(iter(self._kept))
            known, item = self._kept.pop(place)
            self._files -= len(item.files or ())
            if place == (job_id, key):
                return item if known == message else None
