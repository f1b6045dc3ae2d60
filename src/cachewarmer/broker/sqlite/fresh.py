"""Items that this process has published and not claimed yet, so that it need not parse their messages. Pure.

A command on one machine publishes and claims the same items within seconds. Inflating and checking what it has just
written would take a tenth of its time.
"""

from __future__ import annotations

from cachewarmer.model import WorkItem

MOST_FILES = 32_768
"""Maximum number of files in all items that are kept, which is about 10 MB."""


class FreshItems:
    """Items with their messages, in the order in which they were published; they have at most ``most_files`` files."""

    def __init__(self, most_files: int = MOST_FILES) -> None:
        self._most_files = most_files
        self._files = 0
        self._kept: dict[tuple[str, str | bytes], tuple[str, WorkItem]] = {}

    def __repr__(self) -> str:
        return f"<FreshItems items={len(self._kept)} files={self._files}>"

    def add(self, job_id: str, key: str | bytes, message: str, item: WorkItem) -> None:
        """Keeps a published item if there is room; otherwise, earlier ones are claimed first."""
        files = len(item.files or ())
        if self._files + files <= self._most_files and (job_id, key) not in self._kept:
            self._kept[job_id, key] = (message, item)
            self._files += files

    def take(self, job_id: str, key: str | bytes, message: str) -> WorkItem | None:
        """Removes and returns the item of a message that is about to be delivered; None: the message must be parsed.

        Items that were published before it are dropped: another process has them, or they come later and are parsed
        then.
        """
        if (job_id, key) not in self._kept:
            return None
        while True:
            place = next(iter(self._kept))
            known, item = self._kept.pop(place)
            self._files -= len(item.files or ())
            if place == (job_id, key):
                return item if known == message else None
