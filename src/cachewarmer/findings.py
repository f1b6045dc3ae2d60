"""What was looked at, and the result."""

from __future__ import annotations

from enum import StrEnum

from cachewarmer.errors import (
    BrokerError,
    BrokerUnavailable,
    CacheWarmerError,
    ConnectFailed,
    MountError,
    NfsStatusError,
    RemoteProtocolError,
    TransportError,
    UnknownHost,
)
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
        said = " ".join(": ".join(part for part in parts if part).split())
        return cls(level, check, said, error.advice or _mend(check, error))


_MENDS: tuple[tuple[type[CacheWarmerError], str], ...] = (
    (UnknownHost, "check the name and the DNS, or give its numeric address"),
    (ConnectFailed, "is the service up, and does a firewall let this machine through to that port?"),
    (RemoteProtocolError, "is it an NFS server's port? (?nfsport=, ?mountport=)"),
    (TransportError, "is the server overloaded, or is a firewall or a link in between? try again, and look at its log"),
    (MountError, "name one of its exports, or a path below one"),
    (BrokerUnavailable, "is it up, is the URL right, and does a firewall let this machine through?"),
    (BrokerError, "check the URL, and what this user may do there"),
)
"""What to do about errors that bring no advice; the first kind that fits."""


def _mend(check: str, error: CacheWarmerError) -> str:
    if isinstance(error, NfsStatusError) and check in ("path", "listing"):
        return "check the path, and whether this user may search the directories above it (?uid=)"
    for kind, mend in _MENDS:
        if isinstance(error, kind):
            return mend
    return "compare with the lines above, and run it again with -v"


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, said)


def warning(check: str, said: str, mend: str = "") -> Finding:
    """It works, and may be meant otherwise."""
    return Finding(Level.WARNING, check, said, mend)


def failure(check: str, said: str, mend: str = "") -> Finding:
    """It does not work."""
    return Finding(Level.FAILURE, check, said, mend)
