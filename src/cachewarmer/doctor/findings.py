"""What was looked at, and what came of it."""

from __future__ import annotations

from enum import StrEnum

from cachewarmer.errors import CacheWarmerError
from cachewarmer.values import dataclass


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    level: Level
    check: str
    """What was looked at."""
    said: str
    mend: str = ""
    """What to do about it."""

    @classmethod
    def of(cls, check: str, error: CacheWarmerError, *, level: Level = Level.FAILURE) -> Finding:
        """An error, with its advice as the mend."""
        parts = (error.doing, error.problem)
        return cls(level, check, ": ".join(part for part in parts if part), error.advice)


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, said)


def warning(check: str, said: str, mend: str = "") -> Finding:
    """It works, and may be meant otherwise."""
    return Finding(Level.WARNING, check, said, mend)


def failure(check: str, said: str, mend: str = "") -> Finding:
    """It does not work."""
    return Finding(Level.FAILURE, check, said, mend)
