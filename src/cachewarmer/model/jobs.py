"""Jobs and work items, which travel on the queues, with their JSON, and the table of job states.

The JSON keys are a contract with scripts and with the first CacheWarmer: they are in PascalCase, unknown keys are
ignored, and a missing optional key takes its default. Paths are ``str`` as ``paths.to_text`` makes them, so that all
bytes except NUL survive; the JSON is written in ASCII, so that they survive every queue as well.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from cachewarmer.errors import InvalidMessage, InvalidTransition, InvalidValue
from cachewarmer.model.access import NOWHERE, Access
from cachewarmer.model.bandwidth import Bandwidth, bytes_per_second
from cachewarmer.model.came import NOTHING_CAME, Came, read_came
from cachewarmer.model.fields import keyed, read_fields, write_fields
from cachewarmer.model.parts import Part, read_parts, wanted_bytes
from cachewarmer.model.priority import Priority
from cachewarmer.model.wanted import EVERYTHING, FIRST_GENERATION, Wanted
from cachewarmer.paths import join, to_bytes
from cachewarmer.values import dataclass
from cachewarmer.wire import (
    MAX_ID,
    FieldReader,
    FileEntry,
    dump_object,
    load_object,
    pack_files,
    pack_times,
    unpack_files,
    unpack_times,
)

MAX_IDENTITIES = 32
"""Maximum number of identities in ``access_as``: each costs a call for every name."""
TIMES = struct.Struct("<dd")
"""mtime and ctime of a file, in Unix seconds, as items carry them."""

# -- states --------------------------------------------------------------------------------------------------------


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    SCANNING = "scanning"
    WARMING = "warming"
    PAUSED = "paused"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job will never change again."""
        return not TRANSITIONS[self]


_ENDS = frozenset({JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS, JobState.FAILED, JobState.CANCELLED})
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.SCANNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.SCANNING: frozenset({JobState.WARMING, JobState.PAUSED}) | _ENDS,
    JobState.WARMING: frozenset({JobState.PAUSED}) | _ENDS,
    JobState.PAUSED: frozenset({JobState.SCANNING, JobState.WARMING, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.COMPLETED_WITH_ERRORS: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
"""The whole state machine. A job that another manager takes over stays in its state."""


def check_transition(job_id: str, old: JobState, new: JobState) -> bool:
    """Checks the transition ``old → new``; returns whether it changes anything.

    Raises:
        InvalidTransition: it is not in the table.
    """
    if old is new:
        return False
    if new not in TRANSITIONS[old]:
        raise InvalidTransition(f"job {job_id} is {old} and can't become {new}")
    return True


# -- ids -----------------------------------------------------------------------------------------------------------


def new_job_id() -> str:
    """A new random job id: only letters and digits, so that every broker can use it as a key."""
    return "j" + secrets.token_hex(8)


def check_job_id(job_id: str) -> None:
    """Raises ``InvalidMessage`` for an id that not every broker can use as a key."""
    if not (job_id.isascii() and job_id.isalnum() and len(job_id) <= 64):
        raise InvalidMessage("JobId must be at most 64 letters and digits")


def item_id(job_id: str, *parts: str | int) -> str:
    """The id of a work item: the same job, path and range always give the same id (32 hexadecimal digits)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (job_id, *parts):
        raw = to_bytes(str(part))
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.hexdigest()


# -- what jobs and items share -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What jobs and items have in common: how to reach the cache, which files are wanted, and the job's properties."""

    access: Access = NOWHERE
    wanted: Wanted = EVERYTHING
    job_id: str = keyed("JobId", "text", "")
    max_bandwidth: int = keyed("MaxBandwidthBytesPerSecond", "number", 0)
    """Bytes per second for the job as a whole; 0: no limit. If rates differ by the time of day, the lowest of them."""
    max_bandwidth_hours: str = keyed("MaxBandwidthHours", "text", "")
    """Rates by the time of day, as ``Bandwidth.text`` writes them; empty: the same all day."""
    in_order: bool = keyed("InOrder", "flag", False)
    """Whether the files of a list are handed out and read in the order of the list."""
    priority: Priority = keyed("Priority", "choice", Priority.NORMAL, choices=Priority)  # noqa: RUF009  # a field, as the others
    ledger: bool = keyed("Ledger", "flag", False)
    """Whether a record is kept of each file."""

    def __post_init__(self) -> None:
        if self.max_bandwidth_hours:
            self.bandwidth  # noqa: B018  # checks the text

    @property
    def bandwidth(self) -> Bandwidth:
        """The bandwidth limit of the job."""
        if not self.max_bandwidth_hours:
            return Bandwidth(self.max_bandwidth)
        return Bandwidth.parse(self.max_bandwidth_hours, bytes_per_second)

    def _json(self, path: str) -> dict[str, Any]:
        """The first CacheWarmer's keys in its order, and those of our own whose values differ from a missing key."""
        return {
            **write_fields(self.access, always=True),
            "WarmTargetPath": path,
            **write_fields(self, always=True),
            **write_fields(self.wanted, always=True),
            **write_fields(self, always=False),
            **write_fields(self.access, always=False),
            **write_fields(self.wanted, always=False),
        }


def _read(kind: type[Message], read: FieldReader) -> dict[str, Any]:
    """Reads the common fields of a job or an item. Raises ``InvalidValue`` or ``InvalidMessage``."""
    access = Access(**read_fields(Access, read))
    values = read_fields(kind, read)
    if values["job_id"]:
        check_job_id(values["job_id"])
    return {"access": access, "wanted": Wanted(**read_fields(Wanted, read)), **values}


# -- jobs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmJob(Message):
    """A tree to warm."""

    warm_path: str = "/"
    """The path of a directory or file below the export."""
    name: str = keyed("Name", "text", "")
    has_file_list: bool = keyed("HasFileList", "flag", False)
    """Whether the files come from a list stored with the job (``--files-from``) instead of a walk."""
    each_address: bool = keyed("EachAddress", "flag", False)
    """Whether each mount address is a separate cache, so that the whole job is read through each of them."""
    fan_out: bool = keyed("FanOut", "flag", False)
    """With ``each_address``: whether one address is warmed first, because the others can then fill from it."""
    access_as: tuple[str, ...] = keyed("AccessAs", "texts", (), most=MAX_IDENTITIES)
    """Users whose access to each name is asked for, so that a cache knows the answer: ``UID[:GID[,GID...]]``."""
    metadata_only: bool = keyed("MetadataOnly", "flag", False)
    """Whether only metadata is warmed, and no file is read."""
    since: str = keyed("Since", "text", "")
    """The id of the job whose ledger says which files need not be read again. The job's own id stands for the ledger
    that it was submitted with; empty: none.
    """
    submitted_at: float = keyed("SubmittedAt", "real", 0.0)
    """Unix seconds; 0 if unknown."""

    def at(self, address: str) -> WarmJob:
        """The same job with only one of its addresses."""
        return replace(self, access=replace(self.access, addresses=(address,)))

    def to_json(self) -> str:
        """The message text: the keys of the first CacheWarmer, and those of our own that differ from the default."""
        return dump_object(self._json(self.warm_path))

    @classmethod
    def from_json(cls, text: str | bytes) -> WarmJob:
        """Reads a job message, plain or base64. If it has no path, the job is for the whole export.

        Raises:
            InvalidMessage: it is not valid; the error names the key.
        """
        read = load_object(text)
        try:
            job = cls(**_read(cls, read), warm_path=read.path("WarmTargetPath", "/"))
            job.access.check_complete()
            if job.since:
                check_job_id(job.since)
        except InvalidValue as error:
            raise InvalidMessage.like(error) from error
        return job

    @property
    def full_path(self) -> str:
        """Export and warm path joined with one slash: the path that a client of the whole server would use."""
        return join(self.access.export, self.warm_path)

    @property
    def label(self) -> str:
        """The target as shown to users: as mount(8) writes it, or the path of a local directory."""
        if self.access.is_local:
            return self.full_path
        hosts = (f"[{one}]" if ":" in one else one for one in self.access.addresses)
        return f"{','.join(hosts)}:{self.full_path}"


# -- work items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem(Message):
    """What one worker reads under one lease.

    If ``files`` is not None, the item is these files. They are read whole, unless ``start`` and ``stop`` give a range
    of a single file, or ``parts`` gives ranges. Else it is a first-generation item: ``path`` is a file, or a directory
    of which the files directly in it are read if they pass the filters.
    """

    wanted: Wanted = FIRST_GENERATION
    """Matters only if there are no ``files``."""
    path: str = "/"
    """The path of a directory or file below the export; the paths of ``files`` are relative to it."""
    start: int = keyed("StartByte", "number", -1, always=True, least=-1)
    stop: int = keyed("StopByte", "number", -1, always=True, least=-1)
    """Half-open byte range [start, stop); −1: the whole file."""
    apply_filter: bool = keyed("ApplyFilter", "flag", False, always=True)
    start_file_filter: str = keyed("StartFileFilter", "text", "", always=True)
    end_file_filter: str = keyed("EndFileFilter", "text", "", always=True)
    item_id: str = keyed("ItemId", "text", "")
    address: str = keyed("Address", "text", "")
    """The mount address that the file handles in ``files`` belong to: the item is read there first."""
    only_address: str = keyed("OnlyAddress", "text", "")
    """The only mount address where the item may be read, because others are other caches. Part of the item's id."""
    files: tuple[FileEntry, ...] | None = None
    times: bytes = b""
    """mtime and ctime of each of ``files``, as ``TIMES`` packs them; empty if unknown. Not part of the id."""
    parts: tuple[Part, ...] = ()
    """The wanted bytes of those of ``files`` that are not wanted whole, in order."""
    further: bool = keyed("FurtherPart", "flag", False)
    """Whether another item, which holds other bytes of the same files, counts these files."""
    came: Came = NOTHING_CAME
    """What deliveries that were handed back have read of ``files``. Not part of the id, but covered by the receipt."""
    failed_deliveries: int = keyed("FailedDeliveries", "number", 0)
    """How often the item was handed back with a reason (kept in the message by brokers that have no other place)."""
    forgiven_deliveries: int = keyed("ForgivenDeliveries", "number", 0)
    """How often it was handed back although nothing failed: for a pause, a shutdown or an eviction notice."""
    last_error: str = keyed("LastError", "text", "")
    scan: int = keyed("Scan", "number", 0, most=MAX_ID)
    """The number of the scan that published it, from 0, for brokers that count the items of each scan separately."""

    @property
    def byte_count(self) -> int:
        """Number of bytes that the item stands for; 0 if only a worker can find that out."""
        if self.start >= 0:
            return max(0, self.stop - self.start)
        if self.parts:
            return wanted_bytes(self.parts, self.files or ())
        return sum(entry.size for entry in self.files or ())

    @property
    def file_count(self) -> int:
        """Number of files that the item stands for: a file that is split into ranges is counted by its first range."""
        if self.start > 0 or self.further:
            return 0
        return len(self.files) if self.files is not None else 1

    @property
    def first_generation(self) -> bool:
        """Whether it is an item as a first-generation manager makes it: one that names no files."""
        return self.files is None and self.wanted.go_rules

    @property
    def content_id(self) -> str:
        """The id that follows from the item's content: the same job, paths and ranges always give the same id."""
        if self.files is None:
            wanted = self.wanted
            ends = [wanted.head_bytes, wanted.tail_bytes] if wanted.head_bytes or wanted.tail_bytes else []
            filters = dump_object([wanted.include, wanted.exclude, wanted.max_file_bytes, *ends])
            names = (self.start_file_filter, self.end_file_filter) if self.apply_filter else ("", "")
            return item_id(self.job_id, self.path, self.start, self.stop, *names, filters, self.access.export, "")
        only = (self.only_address,) if self.only_address else ()
        if self.start >= 0:
            return item_id(self.job_id, self.path, self.start, self.stop, *only)
        if self.parts:
            only = (dump_object(self.parts), *only)
        return item_id(self.job_id, self.path, "files", "\0".join([entry.path for entry in self.files]), *only)

    def with_content_id(self) -> WorkItem:
        """The item with ``content_id`` as its id."""
        return replace(self, item_id=self.content_id)

    def to_json(self) -> str:
        """The message text. ``Files`` is a list if it is short, else deflated and in base64 (``FilesDeflated``)."""
        values = self._json(self.path)
        if self.files is not None:
            values.update(pack_files(self.files))
            values.update(pack_times(self.times))
        if self.parts:
            values["Ranges"] = self.parts
        values.update(self.came.json())
        return dump_object(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkItem:
        """Reads a work message of this program or of the first CacheWarmer, plain or base64.

        Raises:
            InvalidMessage: it is not valid; the error names the key.
        """
        read = load_object(text)
        try:
            files = unpack_files(read)
            path, times = read.path("WarmTargetPath", "/"), unpack_times(read, len(files or ()))
            parts, came = read_parts(read, files), read_came(read, files or ())
            item = cls(**_read(cls, read), path=path, files=files, times=times, parts=parts, came=came)
        except InvalidValue as error:
            raise InvalidMessage.like(error) from error
        if (item.start < 0) != (item.stop < 0) or item.stop < item.start:
            raise InvalidMessage(f"StartByte {item.start} and StopByte {item.stop} are not a range")
        if item.only_address and item.only_address not in item.access.addresses:
            raise InvalidMessage("OnlyAddress is not one of WarmTargetMountAddresses")
        if item.start >= 0 and item.files is not None and len(item.files) != 1:
            raise InvalidMessage("a byte range needs exactly one file")
        if item.start >= 0 and item.parts:
            raise InvalidMessage("StartByte and Ranges can't be in one message")
        return item
