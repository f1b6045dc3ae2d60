"""The messages of the Azure queues: fills in missing ids, limits their size, and makes poison messages. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from cachewarmer.broker import record
from cachewarmer.broker.azure.names import FIRST_GENERATION_JOB, is_key, job_id_of_message
from cachewarmer.errors import InvalidMessage
from cachewarmer.model import Access, Transport, WarmJob, WorkItem, check_job_id
from cachewarmer.model.came import NOTHING_CAME
from cachewarmer.wire import MAX_MESSAGE_BYTES, dump_object

LAST_ERROR_BYTES = 1024
"""Maximum size of ``LastError`` in a message."""
ROOM_FOR_HISTORY = 2 * 1024
"""Kept free in a message that is published, for what its deliveries add."""
MOST_PUBLISHED_BYTES = MAX_MESSAGE_BYTES - ROOM_FOR_HISTORY
REASON_BYTES = 4 * 1024
MOST_JOB_BYTES = 64 * 1024
"""Maximum size of a job in its record: that of a binary property of a table row."""


def job_of(text: str, message_id: str) -> WarmJob:
    """Parses a job message. A job without ``JobId`` gets an id from that of the message. Raises ``InvalidMessage``."""
    job = WarmJob.from_json(text)
    job = job if job.job_id else replace(job, job_id=job_id_of_message(message_id))
    if job.job_id == FIRST_GENERATION_JOB:
        raise InvalidMessage(f"JobId {FIRST_GENERATION_JOB} is kept for work items without a job")
    length = len(job.to_json())  # characters that are not ASCII take more bytes there than in the message
    if length > MOST_JOB_BYTES:
        raise InvalidMessage(f"the job takes {length} bytes as ASCII: the maximum is {MOST_JOB_BYTES}")
    return job


def item_of(text: str, message_id: str, *, whole: bool = True) -> WorkItem:
    """Parses a work message. An item of a first-generation manager gets ids. Raises ``InvalidMessage``.

    An item whose id does not match its contents is refused: its receipt would stand for files that nobody has read.
    That can't be checked for a message without its list of files (``whole`` is False).
    """
    item = WorkItem.from_json(text)
    if not item.access.addresses and item.access.transport is not Transport.LOCAL:
        raise InvalidMessage("WarmTargetMountAddresses is empty")
    if item.item_id and not is_key(item.item_id):
        raise InvalidMessage("ItemId can't be a key")
    if not item.job_id:
        return replace(item, job_id=FIRST_GENERATION_JOB, item_id=item.item_id or job_id_of_message(message_id))
    check_job_id(item.job_id)
    item = record.with_id(item)
    if whole and item.job_id != FIRST_GENERATION_JOB and item.item_id != item.content_id:
        raise InvalidMessage("ItemId does not belong to what the item holds")
    return item


class UnreadItem(NamedTuple):
    """An item without its list of files, for a message that may have killed the processes that read it."""

    item: WorkItem
    file_count: int


def unread_item_of(text: str, message_id: str) -> UnreadItem:
    """Parses a work message without unpacking its list of files. Raises ``InvalidMessage``."""
    envelope = record.envelope(text)
    item = item_of(envelope.text, message_id, whole=False)
    return UnreadItem(item, 0 if item.start > 0 or item.further else envelope.file_count)


def first_generation_job(item: WorkItem) -> WarmJob:
    """The job in which items without a job are counted."""
    return WarmJob(
        access=Access(addresses=item.access.addresses or ("unknown",), export=item.access.export),
        job_id=FIRST_GENERATION_JOB,
        name="work items without a job",
    )


def published_text(item: WorkItem) -> str:
    """The message of an item. If it is too long, files at the end lose their handles, and are found by their paths.

    Raises:
        InvalidMessage: it is too long even without handles.
    """
    item = record.with_id(item)
    text = item.to_json()
    files = item.files or ()
    for quarters in (3, 2, 1, 0):
        if len(text) <= MOST_PUBLISHED_BYTES:
            return text
        keep = len(files) * quarters // 4
        bare = tuple(entry._replace(handle=b"") for entry in files[keep:])
        text = replace(item, files=files[:keep] + bare if item.files is not None else None).to_json()
    if len(text) > MOST_PUBLISHED_BYTES:
        raise InvalidMessage(
            f"the work item {item.path[:200]} takes {len(text)} bytes: the maximum is {MOST_PUBLISHED_BYTES}"
        )
    return text


def handed_back_text(item: WorkItem, reason: str) -> str | None:
    """The message of an item that is handed back: with the ``reason``, or without one, with a delivery more forgiven.

    What has been read of the item is left out if there is no room for it. None: there is no room at all, in a message
    that another program posted, which then goes back unchanged.
    """
    if reason:
        item = replace(item, last_error=_cut(reason, LAST_ERROR_BYTES))
    else:
        item = replace(item, forgiven_deliveries=item.forgiven_deliveries + 1)
    texts = (item.to_json(), replace(item, came=NOTHING_CAME).to_json())
    return next((text for text in texts if len(text) <= MAX_MESSAGE_BYTES), None)


def failed_deliveries(item: WorkItem, delivered: int) -> tuple[WorkItem, int]:
    """The item, and how many of its deliveries count, including this one.

    The service counts every delivery (``delivered``). Those that do not count, because the item was handed back without
    a failure, are in the message (``forgiven_deliveries``). A message that claims more of them than are possible, such
    as one that was copied from the poison queue, has none. Of an item that was never handed back so, nothing counts as
    read, whatever its message says.
    """
    if item.forgiven_deliveries >= delivered:
        item = replace(item, forgiven_deliveries=0)
    if not item.forgiven_deliveries:
        item = replace(item, came=NOTHING_CAME)
    return item, delivered - item.forgiven_deliveries


def poison_text(queue: str, text: str, reason: str) -> str:
    """A message of the poison queue: the reason, the original queue, and the original text, truncated if necessary."""
    values = {"Reason": _cut(reason, REASON_BYTES), "Queue": queue, "Message": text}
    whole = dump_object(values)
    if len(whole) > MAX_MESSAGE_BYTES:
        room = MAX_MESSAGE_BYTES - len(dump_object({**values, "Message": ""})) - len(',"Cut":true')
        whole = dump_object({**values, "Message": _cut(text, room), "Cut": True})
    return whole


def _cut(text: str, most_bytes: int) -> str:
    """The longest prefix of ``text`` whose JSON, without quotes, takes at most ``most_bytes``."""
    if len(record.dump(text)) - 2 <= most_bytes:
        return text
    low, high = 0, min(len(text), most_bytes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(record.dump(text[:middle])) - 2 <= most_bytes else (low, middle - 1)
    return text[:low]
