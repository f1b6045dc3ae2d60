"""What is left out of a message that would grow too long, and what never is."""

import os

from cachewarmer.broker.azure.messages import MOST_PUBLISHED_BYTES, published_text
from cachewarmer.model import FileEntry, WorkItem


def item_of(count: int) -> WorkItem:
    """Handles of random bytes: nothing deflates them."""
    files = tuple(FileEntry(f"f{number}", number, os.urandom(64)) for number in range(count))
    return WorkItem(path="/d", item_id="i", files=files)


def test_handles_are_left_out_of_as_many_files_as_it_takes():
    """Every name and size is there; the first files keep theirs, since each saves a LOOKUP."""
    item = item_of(1000)
    text = published_text(item)
    assert len(text) <= MOST_PUBLISHED_BYTES
    read = WorkItem.from_json(text).files
    assert [entry[:2] for entry in read] == [entry[:2] for entry in item.files]
    kept = sum(bool(entry.handle) for entry in read)
    assert 0 < kept < 1000
    assert read[:kept] == item.files[:kept]


def test_a_message_that_fits_is_whole():
    item = item_of(100)
    assert WorkItem.from_json(published_text(item)) == item
