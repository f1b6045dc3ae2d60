"""Which files a job wants: a value that jobs and items share, with its checks and its JSON keys."""

from __future__ import annotations

from cachewarmer.errors import InvalidValue
from cachewarmer.model.fields import check_fields, keyed
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which files are wanted. A message without our own keys comes from a first CacheWarmer, and follows its rules.

    Raises:
        InvalidValue: a value is out of its range, or two of them contradict each other.
    """

    include: tuple[str, ...] = keyed("InclusionList", "texts", (), always=True)
    exclude: tuple[str, ...] = keyed("ExclusionList", "texts", (), always=True)
    max_file_bytes: int = keyed("MaxFileSizeBytes", "number", 0, always=True, least=-(1 << 63))
    """0: no limit. Negative values, which are possible in first-generation messages, become 0."""
    min_file_bytes: int = keyed("MinFileSizeBytes", "number", 0)
    newer_than: float = keyed("NewerThan", "real", 0.0)
    """Unix seconds; only files modified at or after it. 0: all."""
    head_bytes: int = keyed("HeadBytes", "number", 0)
    """How many bytes at the beginning of each file are read. 0 here and in ``tail_bytes``: the whole file."""
    tail_bytes: int = keyed("TailBytes", "number", 0)
    """How many bytes at its end are read, in addition to ``head_bytes``."""
    rules: tuple[str, ...] = keyed("FilterRules", "texts", ())
    """The rules of ``--filter-from``, in order: ``+ PATTERN`` or ``- PATTERN``; see ``filters``."""
    snapshots: bool = keyed("IncludeSnapshots", "flag", False)
    """Whether snapshot directories (``.snapshot``, ``.zfs`` and the like) are warmed too."""
    follow_links: bool = keyed("FollowLinks", "flag", False, absent=True)
    """Whether symbolic links to files inside the export are read through."""
    one_file_system: bool = keyed("OneFileSystem", "flag", False)
    """Whether mount points within a local tree are not crossed."""
    hardlink_dedup: bool = keyed("HardlinkDedup", "flag", True)
    """Whether a file with several names is read only once."""
    go_rules: bool = keyed("GoRules", "flag", False, absent=True)
    """Whether patterns follow Go's ``filepath.Match`` to the letter."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_file_bytes < 0:
            object.__setattr__(self, "max_file_bytes", 0)
        if 0 < self.max_file_bytes < self.min_file_bytes:
            raise InvalidValue(
                f"the minimum file size ({self.min_file_bytes} bytes) is above the maximum ({self.max_file_bytes} bytes)"
            )

    @property
    def everything(self) -> bool:
        """Whether no pattern, size or time leaves any file out."""
        patterns = self.include or self.exclude or self.rules
        return not (patterns or self.max_file_bytes or self.min_file_bytes or self.newer_than)


EVERYTHING = Wanted()
"""Every file, by our own rules."""
FIRST_GENERATION = Wanted(follow_links=True, go_rules=True)
"""The value of a message that has neither our own keys nor patterns."""
