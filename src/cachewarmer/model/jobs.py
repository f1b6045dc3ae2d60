"""Jobs and work items, which travel on the queues, with their JSON, and the table of job states.

The JSON keys are a contract with scripts and with the first CacheWarmer: PascalCase, unknown keys ignored, a missing
optional key takes its default. Paths are ``str`` as ``paths.to_text`` makes them, so that any bytes but NUL survive; JSON
is written in ASCII, so that they survive every queue as well.
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
"""Each costs a call for every name."""
TIMES = struct.Struct("<dd")
"""mtime and ctime of a file, as items carry them: Unix seconds."""

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
"""The whole state machine. A job taken up again by another manager stays in the state it is in."""


def check_transition(job_id: str, old: JobState, new: JobState) -> bool:
    """Whether ``old → new`` changes anything.

    Raises:
        InvalidTransition: the table does not have it.
    """
    if old is new:
        return False
    if new not in TRANSITIONS[old]:
        raise InvalidTransition(f"job {job_id} is {old} and can't become {new}")
    return True


# -- ids -----------------------------------------------------------------------------------------------------------


def new_job_id() -> str:
    """A fresh job id: letters and digits only, so that every broker can use it as a key."""
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
    """How the cache is reached, which files are meant, and which job it belongs to."""

    access: Access = NOWHERE
    wanted: Wanted = EVERYTHING
    job_id: str = keyed("JobId", "text", "")
    max_bandwidth: int = keyed("MaxBandwidthBytesPerSecond", "number", 0)
    """Bytes per second for the job as a whole; 0: no limit. Where it has hours, the lowest rate of all."""
    max_bandwidth_hours: str = keyed("MaxBandwidthHours", "text", "")
    """Rates by the hour, as ``Bandwidth.text`` writes them; empty: the same all day."""
    in_order: bool = keyed("InOrder", "flag", False)
    """The files of a list are handed out, and read, in the order in which it names them."""
    priority: Priority = keyed("Priority", "choice", Priority.NORMAL, choices=Priority)  # noqa: RUF009  # a field, as the others
    ledger: bool = keyed("Ledger", "flag", False)
    """Whether a record is kept of each file."""

    def __post_init__(self) -> None:
        if self.max_bandwidth_hours:
            self.bandwidth  # noqa: B018  # checked

    @property
    def bandwidth(self) -> Bandwidth:
        """The bandwidth limit of the job."""
        if not self.max_bandwidth_hours:
            return Bandwidth(self.max_bandwidth)
        return Bandwidth.parse(self.max_bandwidth_hours, bytes_per_second)

    def _json(self, path: str) -> dict[str, Any]:
        """The first CacheWarmer's keys, in its order, and of our own those that differ from what their absence says."""
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
    """The fields of a job or an item. Raises ``InvalidValue``."""
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
    """Below the export; a directory or a file."""
    name: str = keyed("Name", "text", "")
    has_file_list: bool = keyed("HasFileList", "flag", False)
    """The files are those of the list stored with the job (``--files-from``), not of a walk."""
    each_address: bool = keyed("EachAddress", "flag", False)
    """Each mount address is a cache of its own: all of the job is read through each of them."""
    fan_out: bool = keyed("FanOut", "flag", False)
    """With ``each_address``: one address is read first, and the others when it is warm: they can fill from it."""
    access_as: tuple[str, ...] = keyed("AccessAs", "texts", (), most=MAX_IDENTITIES)
    """Users whose access to each name is asked for, so that a cache knows it: ``UID[:GID[,GID...]]``."""
    metadata_only: bool = keyed("MetadataOnly", "flag", False)
    """No file is read."""
    since: str = keyed("Since", "text", "")
    """The job whose ledger says what need not be read again; its own id: the ledger that it was submitted with."""
    submitted_at: float = keyed("SubmittedAt", "real", 0.0)

    def at(self, address: str) -> WarmJob:
        """The part of the job at one of its addresses."""
        return replace(self, access=replace(self.access, addresses=(address,)))

    def to_json(self) -> str:
        """The message text; only the keys of the first CacheWarmer and what differs from the default."""
        return dump_object(self._json(self.warm_path))

    @classmethod
    def from_json(cls, text: str | bytes) -> WarmJob:
        """Reads a job message, plain or base64. Without a path, the whole export is meant.

        Raises:
            InvalidMessage: says which key is wrong.
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
        """Export and warm path joined with one slash: the path a client of the whole server would use."""
        return join(self.access.export, self.warm_path)

    @property
    def label(self) -> str:
        """How the target is shown to people: as mount(8) writes it, or the path of a local directory."""
        if self.access.is_local:
            return self.full_path
        hosts = (f"[{one}]" if ":" in one else one for one in self.access.addresses)
        return f"{','.join(hosts)}:{self.full_path}"


# -- work items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem(Message):
    """What one worker reads under one lease.

    With ``files`` the item is those files, each whole unless ``start``/``stop`` cut the one there is. Without, it is
    a first-generation item: ``path`` is a file, or a directory whose direct files are meant, with the filters here.
    """

    wanted: Wanted = FIRST_GENERATION
    """Only of an item without ``files``."""
    path: str = "/"
    """Below the export."""
    start: int = keyed("StartByte", "number", -1, always=True, least=-1)
    stop: int = keyed("StopByte", "number", -1, always=True, least=-1)
    """Half-open byte range [start, stop); −1: all."""
    apply_filter: bool = keyed("ApplyFilter", "flag", False, always=True)
    start_file_filter: str = keyed("StartFileFilter", "text", "", always=True)
    end_file_filter: str = keyed("EndFileFilter", "text", "", always=True)
    item_id: str = keyed("ItemId", "text", "")
    address: str = keyed("Address", "text", "")
    """The mount address whose handles ``files`` carries: read there first."""
    only_address: str = keyed("OnlyAddress", "text", "")
    """The one mount address where the item may be read: another is another cache. Part of the item's id."""
    files: tuple[FileEntry, ...] | None = None
    times: bytes = b""
    """mtime and ctime of each of ``files``, as ``TIMES`` packs them; empty: not known. Not in the id."""
    parts: tuple[Part, ...] = ()
    """The bytes that are wanted of files of which not all is, in order; only beside ``files``."""
    further: bool = keyed("FurtherPart", "flag", False)
    """Its files are counted by another item, which holds other bytes of them."""
    came: Came = NOTHING_CAME
    """What has been read of ``files`` in deliveries that were handed back. Not in the id: the receipt tells of all of it."""
    failed_deliveries: int = keyed("FailedDeliveries", "number", 0)
    """How often the item was handed back with a reason (kept in the message by brokers that have no other place)."""
    forgiven_deliveries: int = keyed("ForgivenDeliveries", "number", 0)
    """How often it was handed back without fault: pause, shutdown, eviction notice."""
    last_error: str = keyed("LastError", "text", "")
    scan: int = keyed("Scan", "number", 0, most=MAX_ID)
    """Which scan of its job published it, counted from 0, where a broker counts each scan by itself."""

    @property
    def byte_count(self) -> int:
        """Bytes the item stands for; 0 where only a worker can find out."""
        if self.start >= 0:
            return max(0, self.stop - self.start)
        if self.parts:
            return wanted_bytes(self.parts, self.files or ())
        return sum(entry.size for entry in self.files or ())

    @property
    def file_count(self) -> int:
        """Files the item stands for: a file cut into ranges is counted by its first range."""
        if self.start > 0 or self.further:
            return 0
        return len(self.files) if self.files is not None else 1

    @property
    def first_generation(self) -> bool:
        """Whether a first-generation manager made it, or somebody who writes as it does: it names no files."""
        return self.files is None and self.wanted.go_rules

    @property
    def content_id(self) -> str:
        """The id that belongs to what the item holds: the same job, paths and range always give the same."""
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
        """The item with the id that belongs to what it holds."""
        return replace(self, item_id=self.content_id)

    def to_json(self) -> str:
        """The message text. ``Files`` is a list while it is small, else deflated and base64 (``FilesDeflated``)."""
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
        """Reads a work message, of this program or of the first CacheWarmer, plain or base64.

        Raises:
            InvalidMessage: says which key is wrong.
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
