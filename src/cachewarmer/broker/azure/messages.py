"""The messages of the Azure queues: fills in missing ids, keeps to the maximum size, and makes poison messages. Pure."""

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
"""What ``LastError`` may take of a message."""
ROOM_FOR_HISTORY = 2 * 1024
"""Kept free in a message as it is published, for what its deliveries write into it."""
MOST_PUBLISHED_BYTES = MAX_MESSAGE_BYTES - ROOM_FOR_HISTORY
REASON_BYTES = 4 * 1024
MOST_JOB_BYTES = 64 * 1024
"""Maximum size of a job in its record: that of a binary property of a table row."""


def job_of(text: str, message_id: str) -> WarmJob:
    """The job of a message; one without ``JobId`` gets an id made from the message's. Raises ``InvalidMessage``."""
    job = WarmJob.from_json(text)
    job = job if job.job_id else replace(job, job_id=job_id_of_message(message_id))
    if job.job_id == FIRST_GENERATION_JOB:
        raise InvalidMessage(f"JobId {FIRST_GENERATION_JOB} is kept for work items without a job")
    length = len(job.to_json())  # letters that are not ASCII take more room there than in the message
    if length > MOST_JOB_BYTES:
        raise InvalidMessage(f"the job takes {length} bytes as ASCII: the maximum is {MOST_JOB_BYTES}")
    return job


def item_of(text: str, message_id: str, *, whole: bool = True) -> WorkItem:
    """The work item of a message; one of a first-generation manager gets ids. Raises ``InvalidMessage``.

    An item whose id does not belong to what it holds is refused: its receipt would stand for files that nobody read.
    That is not known of a message whose list of files was left out (``whole`` is False).
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
    """An item without its list of files, of a message that may have ended whoever read it."""

    item: WorkItem
    file_count: int


def unread_item_of(text: str, message_id: str) -> UnreadItem:
    """The item of a message whose list of files stays packed. Raises ``InvalidMessage``."""
    envelope = record.envelope(text)
    item = item_of(envelope.text, message_id, whole=False)
    return UnreadItem(item, 0 if item.start > 0 or item.further else envelope.file_count)


def first_generation_job(item: WorkItem) -> WarmJob:
    """The job that items without one are counted in."""
    return WarmJob(
        access=Access(addresses=item.access.addresses or ("unknown",), export=item.access.export),
        job_id=FIRST_GENERATION_JOB,
        name="work items without a job",
    )


def published_text(item: WorkItem) -> str:
    """The message of an item. Handles are left out of as many files as it takes: a worker finds those by their path.

    Raises:
        InvalidMessage: the names alone are too long for a message.
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
    """The message of an item that is handed back: with its error, or with one more delivery forgiven.

    What has been read of the item is left out where there is no room for it. None: there is no room for anything in somebody
    else's message; it goes back as it is.
    """
    if reason:
        item = replace(item, last_error=_cut(reason, LAST_ERROR_BYTES))
    else:
        item = replace(item, forgiven_deliveries=item.forgiven_deliveries + 1)
    texts = (item.to_json(), replace(item, came=NOTHING_CAME).to_json())
    return next((text for text in texts if len(text) <= MAX_MESSAGE_BYTES), None)


def failed_deliveries(item: WorkItem, delivered: int) -> tuple[WorkItem, int]:
    """How often an item was delivered and not handed back without fault, this time included.

    The service counts every delivery (``delivered``); those that were forgiven are written in the message. One that
    claims more of them than it can have had, such as a copy that somebody took from the poison queue, has had none. Nothing
    has been read of an item that was never handed back so, whatever a message says that was just posted.
    """
    if item.forgiven_deliveries >= delivered:
        item = replace(item, forgiven_deliveries=0)
    if not item.forgiven_deliveries:
        item = replace(item, came=NOTHING_CAME)
    return item, delivered - item.forgiven_deliveries


def poison_text(queue: str, text: str, reason: str) -> str:
    """A message of the poison queue: the reason, the queue it comes from, and its text, cut where it is too long."""
    values = {"Reason": _cut(reason, REASON_BYTES), "Queue": queue, "Message": text}
    whole = dump_object(values)
    if len(whole) > MAX_MESSAGE_BYTES:
        room = MAX_MESSAGE_BYTES - len(dump_object({**values, "Message": ""})) - len(',"Cut":true')
        whole = dump_object({**values, "Message": _cut(text, room), "Cut": True})
    return whole


def _cut(text: str, most_bytes: int) -> str:
    """The longest beginning of ``text`` whose JSON takes no more than ``most_bytes``."""
    if len(record.dump(text)) - 2 <= most_bytes:
        return text
    low, high = 0, min(len(text), most_bytes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(record.dump(text[:middle])) - 2 <= most_bytes else (low, middle - 1)
    return text[:low]
