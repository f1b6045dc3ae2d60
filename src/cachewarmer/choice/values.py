"""The choices of a user as values. Commands parse their options into them, so this module has few imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from cachewarmer.model import Bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which files of a target a job is about, and how they are read."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_file_bytes: int = 0
    min_file_bytes: int = 0
    newer_than: float = 0.0
    filter_from: tuple[str, ...] = ()
    """Files with rules."""
    snapshots: bool = False
    follow_links: bool = False
    one_file_system: bool = False
    hardlink_dedup: bool = True
    allow_empty: bool = False
    """Whether it is fine that no file passes the filters, or that the list names none."""
    files_from: str | None = None
    """The file of a list; empty: a program names what is in it."""
    null: bool = False
    frames: tuple[str, ...] = ()
    """Sequences of frames, each with its numbers."""
    usd: tuple[str, ...] = ()
    """Scenes of USD."""
    maps: tuple[str, ...] = ()
    """How paths of a list become those of the target: FROM=TO."""
    in_order: bool = False
    head_bytes: int = 0
    tail_bytes: int = 0
    transport: str = "auto"
    max_bandwidth: Bandwidth | None = None
    """None: no limit."""
    name: str = ""
    uid: int | None = None
    gid: int | None = None
    each_address: bool = False
    address_subset: tuple[str, ...] = ()
    fan_out: bool = False
    access_as: tuple[str, ...] = ()
    metadata_only: bool = False
    priority: str = "normal"
    ledger: bool = False
    """Whether a record is kept of each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How hard one address is read from; None: what the settings say."""

    window: int | None = None
    """Calls; 0: found automatically."""
    max_window: int | None = None
    gentle: bool = False
    connections: int | None = None
    patience: float | None = None
    """Seconds; 0: forever."""

    def check(self) -> None:
        """Raises ``UsageError`` where one contradicts another."""
        if self.window and (self.max_window is not None or self.gentle):
            raise UsageError(
                "--window N fixes the window, but --max-window and --gentle need an automatic one: leave out --window"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is kept of each file, and what of an earlier job is made use of."""

    file: str = ""
    """The file that gets a record of each file."""
    keep: bool = False
    """Whether these records are kept at the broker without a file."""
    since: str = ""
    """A ledger's file, or a job: what it holds as read is left out."""
    failed_of: str = ""
    """A job: the files that failed are warmed."""

    def check(self, *, metadata_only: bool, has_target: bool, has_list: bool, resumes: bool = False) -> None:
        """Checks it beside what else was chosen.

        Raises:
            UsageError: the file can't be written, or one thing contradicts another.
        """
        if self.file:
            from cachewarmer.ledger.files import check_writable

            check_writable(self.file)
        for option, given in (
            ("--ledger", self.file),
            ("--keep-ledger", self.keep),
            ("--since", self.since),
            ("--failed-of", self.failed_of),
        ):
            if given and metadata_only:
                raise UsageError(
                    f"{option} records what was read, but --metadata-only reads nothing: leave out one of them"
                )
        if resumes and (self.since or self.failed_of):
            raise UsageError("--resume continues an existing job, but --since and --failed-of start a new one")
        if self.failed_of:
            others = (("a TARGET", has_target), ("--files-from", has_list), ("--since", self.since))
            for what, given in others:
                if given:
                    raise UsageError(f"--failed-of takes the target and the files from the job: leave out {what}")
