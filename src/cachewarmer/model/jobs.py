"""What travels on the queues: jobs and work items, with their JSON, and the table of job states.

The JSON keys are a contract with scripts and with the first CacheWarmer: PascalCase, unknown keys ignored, a missing
optional key takes its default. Paths are ``str`` decoded as UTF-8 with ``surrogateescape``, so that any bytes but NUL
survive; JSON is written in ASCII, so that they survive every queue as well.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cachewarmer.errors import InvalidMessage, InvalidTransition
from cachewarmer.wire import (
    MAX_ID,
    MAX_PORT,
    FieldReader,
    FileEntry,
    dump_object,
    load_object,
    pack_files,
    unpack_files,
)

TRANSPORTS = ("auto", "nfs", "mount", "local")
"""How a job or an item may ask to be read."""


# -- states --------------------------------------------------------------------------------------------------------


class JobState(StrEnum):
    """Where a job stands."""

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
        raw = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.hexdigest()


# -- what jobs and items share -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """How the cache is reached and which files are meant. ``mount_addresses`` is empty for this machine's own files."""

    mount_addresses: tuple[str, ...] = ()
    export_path: str = ""
    """The export to mount; empty: found from the server's export list, by the whole path."""
    inclusion: tuple[str, ...] = ()
    exclusion: tuple[str, ...] = ()
    max_file_bytes: int = 0
    job_id: str = ""
    transport: str = "auto"
    """``auto``, ``nfs``, ``mount`` or ``local``."""
    max_bandwidth: int = 0
    """Bytes per second for the job as a whole; 0: no limit."""
    nfs_port: int = 0
    """0: ask the portmapper."""
    mount_port: int = 0
    uid: int = -1
    """AUTH_SYS user id; −1: of the process that reads."""
    gid: int = -1
    gids: tuple[int, ...] = ()

    def _json(self, path: str, own: Mapping[str, Any], optional: Sequence[tuple[str, Any, Any]]) -> dict[str, Any]:
        """The first CacheWarmer's keys, those it has for this kind of message alone (``own``), and of all others
        (key, value, default) what differs from the default.
        """
        values: dict[str, Any] = {
            "WarmTargetMountAddresses": list(self.mount_addresses),
            "WarmTargetExportPath": self.export_path,
            "WarmTargetPath": path,
            **own,
            "InclusionList": list(self.inclusion),
            "ExclusionList": list(self.exclusion),
            "MaxFileSizeBytes": self.max_file_bytes,
        }
        for key, value, default in (
            ("JobId", self.job_id, ""),
            ("Transport", self.transport, "auto"),
            ("MaxBandwidthBytesPerSecond", self.max_bandwidth, 0),
            ("NfsPort", self.nfs_port, 0),
            ("MountPort", self.mount_port, 0),
            ("Uid", self.uid, -1),
            ("Gid", self.gid, -1),
            ("Gids", list(self.gids), []),
            *optional,
        ):
            if value != default:
                values[key] = value
        return values


def _open(text: str | bytes) -> tuple[FieldReader, str, dict[str, Any]]:
    """A message opened: its reader, its path, and the values of the fields of ``Message``. Raises ``InvalidMessage``."""
    loaded = load_object(text)
    if "WarmTargetPath" not in loaded:
        raise InvalidMessage("WarmTargetPath is missing")
    read = FieldReader(loaded)
    transport = read.text("Transport", "auto")
    if transport not in TRANSPORTS:
        raise InvalidMessage(f"Transport must be one of {', '.join(TRANSPORTS)}, not {transport!r}")
    return (
        read,
        read.path("WarmTargetPath"),
        {
            "mount_addresses": read.addresses("WarmTargetMountAddresses"),
            "export_path": read.path("WarmTargetExportPath"),
            "inclusion": read.texts("InclusionList"),
            "exclusion": read.texts("ExclusionList"),
            "max_file_bytes": read.number("MaxFileSizeBytes"),
            "job_id": read.text("JobId"),
            "transport": transport,
            "max_bandwidth": read.number("MaxBandwidthBytesPerSecond"),
            "nfs_port": read.number("NfsPort", most=MAX_PORT),
            "mount_port": read.number("MountPort", most=MAX_PORT),
            "uid": read.number("Uid", -1, least=-1, most=MAX_ID),
            "gid": read.number("Gid", -1, least=-1, most=MAX_ID),
            "gids": read.ids("Gids"),
        },
    )


# -- jobs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmJob(Message):
    """A tree to warm."""

    warm_path: str = "/"
    """Below ``export_path``; a directory or a file."""
    min_file_bytes: int = 0
    newer_than: float = 0.0
    """Unix seconds; only files modified at or after it. 0: all."""
    name: str = ""
    has_file_list: bool = False
    """The files are those of the list stored with the job (``--files-from``), not of a walk."""
    submitted_at: float = 0.0

    def to_json(self) -> str:
        """The message text; only the keys of the first CacheWarmer and what differs from the default."""
        optional = (
            ("MinFileSizeBytes", self.min_file_bytes, 0),
            ("NewerThan", self.newer_than, 0.0),
            ("Name", self.name, ""),
            ("HasFileList", self.has_file_list, False),
            ("SubmittedAt", self.submitted_at, 0.0),
        )
        return dump_object(self._json(self.warm_path, {}, optional))

    @classmethod
    def from_json(cls, text: str | bytes) -> WarmJob:
        """Reads a job message, plain or base64.

        Raises:
            InvalidMessage: says which key is wrong.
        """
        read, path, shared = _open(text)
        job = cls(
            **shared,
            warm_path=path,
            min_file_bytes=read.number("MinFileSizeBytes"),
            newer_than=read.real("NewerThan"),
            name=read.text("Name"),
            has_file_list=read.flag("HasFileList"),
            submitted_at=read.real("SubmittedAt"),
        )
        if not job.mount_addresses and job.transport != "local":
            raise InvalidMessage("WarmTargetMountAddresses is empty")
        if job.job_id:
            check_job_id(job.job_id)
        return job

    @property
    def full_path(self) -> str:
        """Export and warm path joined with one slash: the path a client of the whole server would use."""
        return "/" + "/".join(part for part in f"{self.export_path}/{self.warm_path}".split("/") if part)

    @property
    def label(self) -> str:
        """How the target is shown to people: as mount(8) writes it, or the path of a local directory."""
        if not self.mount_addresses:
            return self.full_path
        return f"{','.join(self.mount_addresses)}:{self.full_path}"


# -- work items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem(Message):
    """What one worker reads under one lease.

    With ``files`` the item is those files, each whole unless ``start``/``stop`` cut the one there is. Without, it is
    a first-generation item: ``path`` is a file, or a directory whose direct files are meant, with the filters here.
    """

    path: str = "/"
    """Below ``export_path``."""
    start: int = -1
    stop: int = -1
    """Half-open byte range [start, stop); −1: all."""
    apply_filter: bool = False
    start_file_filter: str = ""
    end_file_filter: str = ""
    item_id: str = ""
    address: str = ""
    """The mount address whose handles ``files`` carries: read there first."""
    files: tuple[FileEntry, ...] | None = None
    failed_deliveries: int = 0
    """How often the item was handed back with a reason (kept in the message by brokers that have no other place)."""
    forgiven_deliveries: int = 0
    """How often it was handed back without fault: pause, shutdown, eviction notice."""
    last_error: str = ""
    scan: int = 0
    """Which scan of its job published it, counted from 0, where a broker counts each scan by itself."""

    @property
    def byte_count(self) -> int:
        """Bytes the item stands for; 0 where only a worker can find out."""
        if self.start >= 0:
            return max(0, self.stop - self.start)
        return sum(entry.size for entry in self.files or ())

    @property
    def file_count(self) -> int:
        """Files the item stands for: a file cut into ranges is counted by its first range."""
        if self.start > 0:
            return 0
        return len(self.files) if self.files is not None else 1

    def to_json(self) -> str:
        """The message text. ``Files`` is a list while it is small, else deflated and base64 (``FilesDeflated``)."""
        own = {
            "StartByte": self.start,
            "StopByte": self.stop,
            "ApplyFilter": self.apply_filter,
            "StartFileFilter": self.start_file_filter,
            "EndFileFilter": self.end_file_filter,
        }
        optional = (
            ("ItemId", self.item_id, ""),
            ("Address", self.address, ""),
            ("FailedDeliveries", self.failed_deliveries, 0),
            ("ForgivenDeliveries", self.forgiven_deliveries, 0),
            ("LastError", self.last_error, ""),
            ("Scan", self.scan, 0),
        )
        values = self._json(self.path, own, optional)
        if self.files is not None:
            values.update(pack_files(self.files))
        return dump_object(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkItem:
        """Reads a work message, of this program or of the first CacheWarmer, plain or base64.

        Raises:
            InvalidMessage: says which key is wrong.
        """
        read, path, shared = _open(text)
        item = cls(
            **shared,
            path=path,
            start=read.number("StartByte", -1, least=-1),
            stop=read.number("StopByte", -1, least=-1),
            apply_filter=read.flag("ApplyFilter"),
            start_file_filter=read.text("StartFileFilter"),
            end_file_filter=read.text("EndFileFilter"),
            item_id=read.text("ItemId"),
            address=read.text("Address"),
            files=unpack_files(read.values),
            failed_deliveries=read.number("FailedDeliveries"),
            forgiven_deliveries=read.number("ForgivenDeliveries"),
            last_error=read.text("LastError"),
            scan=read.number("Scan", most=MAX_ID),
        )
        if (item.start < 0) != (item.stop < 0) or item.stop < item.start:
            raise InvalidMessage(f"StartByte {item.start} and StopByte {item.stop} are no range")
        if item.start >= 0 and item.files is not None and len(item.files) != 1:
            raise InvalidMessage("a byte range needs exactly one file")
        return item
