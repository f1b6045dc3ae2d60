"""The result of a verification, for both text and JSON. The JSON keys are a contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any, NamedTuple

from cachewarmer.model import PathError
from cachewarmer.paths import to_text
from cachewarmer.values import dataclass
from cachewarmer.verification.intervals import Interval, wilson
from cachewarmer.verification.judging import Judgement
from cachewarmer.verification.measuring import Aspect, Measured

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
LEAST_OF_DIRECTORY = 5
"""Samples below a directory, from which on it is named."""
MOST_DIRECTORIES = 10


class ColdDirectory(NamedTuple):
    """A directory below which much is cold."""

    path: str
    samples: int
    cold: int


class SizeClass(NamedTuple):
    """The samples of files of about one size: ``low`` ≤ size < ``high`` bytes."""

    low: int
    high: int
    samples: int
    cold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of one aspect of one target."""

    aspect: Aspect = Aspect.DATA
    method: str = "reads"
    """How it was found out: ``reads``, or who was asked."""
    samples: int = 0
    complete: bool = False
    """Whether the samples are all there is."""
    warm: Interval | None = None
    reason: str = ""
    """Why it can't be determined."""
    evidence: str = ""
    threshold_seconds: float = 0.0
    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()
    """Seconds of each read, in order."""
    origin_seconds: float = 0.0
    """A round trip to the origin, as far as it could be taken: the median."""
    coldest: tuple[ColdDirectory, ...] = ()
    sizes: tuple[SizeClass, ...] = ()
    bytes_read: int = 0
    failed: int = 0
    vanished: int = 0
    errors: tuple[PathError, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there was nothing to look at."""
        return not (self.samples or self.failed or self.vanished)

    def meets(self, expected: float) -> bool:
        """Whether as much is warm as was expected, a fraction; where there is nothing to read nothing is missing."""
        return self.empty or (self.warm is not None and self.warm.value >= expected - 1e-9)

    def document(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "method": self.method,
            "samples": self.samples,
            "complete": self.complete,
            "warm_fraction": _rounded(self.warm.value) if self.warm else None,
            "interval": [_rounded(self.warm.low), _rounded(self.warm.high)] if self.warm else None,
            "reason": self.reason,
            "evidence": self.evidence,
            "latency_ms": {"first": quantiles(self.first), "second": quantiles(self.second)},
            "threshold_ms": round(1000 * self.threshold_seconds, 3),
            "origin_ms": round(1000 * self.origin_seconds, 3),
            "coldest": [{"path": path, "samples": samples, "cold": cold} for path, samples, cold in self.coldest],
            "sizes": [
                {"from": low, "below": high, "samples": samples, "cold": cold}
                for low, high, samples, cold in self.sizes
            ],
            "bytes_read": self.bytes_read,
            "failed_samples": self.failed,
            "vanished_samples": self.vanished,
            "errors": [{"path": one.path, "error": one.error} for one in self.errors],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What is known of one target."""

    target: str
    address: str = ""
    """The address, if each has its own result; else empty."""
    files: int = 0
    bytes: int = 0
    """Of the tree that the samples stand for."""
    seconds: float = 0.0
    seed: int = 0
    """Of the sample."""
    aspects: tuple[Found, ...] = ()
    interrupted: bool = False
    warnings: tuple[str, ...] = ()
    addresses: tuple[Verified, ...] = ()
    """What is known of each address, where several were looked at, each by itself; all else is then their sum."""

    @property
    def main(self) -> Found:
        """The aspect that the summary is about: the first that was asked for."""
        return self.aspects[0] if self.aspects else Found(reason="nothing was looked at")

    def meets(self, expected: float) -> bool:
        """Whether as much is warm as was expected, a fraction: of each aspect, at each address."""
        if self.addresses:
            return all(one.meets(expected) for one in self.addresses)
        return bool(self.aspects) and all(one.meets(expected) for one in self.aspects)

    def document(self) -> dict[str, Any]:
        """The JSON object, as ``verify --json`` writes it."""
        if self.addresses:
            return document(self.addresses)
        found: dict[str, Any] = {
            "target": self.target,
            **({"address": self.address} if self.address else {}),
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            **self.main.document(),
            "warnings": list(self.warnings),
        }
        if len(self.aspects) > 1:
            found["aspects"] = {str(one.aspect): one.document() for one in self.aspects}
        return found


def together(found: Sequence[Verified]) -> Verified:
    """What is known of a target: the one result there is, or that of several addresses with each of theirs in it."""
    if len(found) == 1:
        return found[0]
    aspects = [[one.aspects[place] for one in found] for place in range(min(len(one.aspects) for one in found))]
    counts = [one.bytes for one in found]
    return Verified(
        target=found[0].target,
        files=sum(one.files for one in found),
        bytes=sum(counts),
        seconds=sum(one.seconds for one in found),
        seed=found[0].seed,
        aspects=tuple(_sum_of(parts, counts) for parts in aspects),
        interrupted=any(one.interrupted for one in found),
        warnings=tuple(dict.fromkeys(warning for one in found for warning in one.warnings)),
        addresses=tuple(found),
    )


def _sum_of(parts: Sequence[Found], counts: Sequence[int]) -> Found:
    """One aspect of several addresses, of ``counts`` bytes each."""
    warm = _joined(list(zip(counts, parts, strict=True)))
    return Found(
        aspect=parts[0].aspect,
        method=parts[0].method,
        samples=sum(one.samples for one in parts),
        complete=all(one.complete for one in parts),
        warm=warm,
        reason="" if warm else _why_not(parts),
        first=tuple(seconds for one in parts for seconds in one.first),
        second=tuple(seconds for one in parts for seconds in one.second),
        bytes_read=sum(one.bytes_read for one in parts),
        failed=sum(one.failed for one in parts),
        vanished=sum(one.vanished for one in parts),
        errors=tuple(error for one in parts for error in one.errors),
    )


def _why_not(parts: Sequence[Found]) -> str:
    """Why nothing can be told of all of them: the first reason there is."""
    return next((one.reason for one in parts if one.warm is None), "")


def document(found: Sequence[Verified]) -> dict[str, Any]:
    """The JSON object of one target, or that of several: their sums, and each of them in ``targets``."""
    if len(found) == 1:
        return found[0].document()
    mains = [one.main for one in found]
    warm = _joined([(one.bytes, one.main) for one in found])
    return {
        "samples": sum(main.samples for main in mains),
        "warm_fraction": _rounded(warm.value) if warm else None,
        "interval": [_rounded(warm.low), _rounded(warm.high)] if warm else None,
        "reason": "" if warm else _why_not(mains),
        "latency_ms": {
            "first": quantiles([second for main in mains for second in main.first]),
            "second": quantiles([second for main in mains for second in main.second]),
        },
        "bytes_read": sum(main.bytes_read for main in mains),
        "targets": [one.document() for one in found],
    }


def _joined(found: Sequence[tuple[int, Found]]) -> Interval | None:
    """The fraction of several targets, by their bytes; its interval holds whatever each of theirs holds."""
    parts = [(count, one.warm) for count, one in found if not one.empty]
    total = sum(count for count, _ in parts)
    sums = [0.0, 0.0, 0.0]
    for count, warm in parts:
        if warm is None:
            return None
        sums = [before + count * here / total for before, here in zip(sums, warm, strict=True)] if total else sums
    return Interval(*sums) if total else None


def quantiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99, in milliseconds; None where there is nothing."""
    ordered = sorted(seconds)
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 3) if ordered else None
        for name, share in QUANTILES
    }


def coldest(measured: Sequence[Measured], judgement: Judgement) -> tuple[ColdDirectory, ...]:
    """The directories that are coldest for sure: none of them lies in another.

    Not those where no more look cold than where all is warm.
    """
    counts: dict[str, list[int]] = {}
    for one, is_cold in zip(measured, judgement.cold, strict=False):
        file = one.sample.file
        parts = to_text(file.path).split("/")[:-1]
        for depth in range(len(parts) + 1):
            path = file.export.rstrip("/") + "/" + "/".join(parts[:depth])
            count = counts.setdefault(path.rstrip("/") or "/", [0, 0])
            count[0] += 1
            count[1] += is_cold
    surely = {path: wilson(cold / samples, samples).low for path, (samples, cold) in counts.items()}
    ranked = sorted(
        (-surely[path], -len(path), path, samples, cold)
        for path, (samples, cold) in counts.items()
        if samples >= LEAST_OF_DIRECTORY and surely[path] > judgement.looks_cold
    )
    chosen: list[ColdDirectory] = []
    for _, _, path, samples, cold in ranked:
        inside = any(_within(path, one.path) or _within(one.path, path) for one in chosen)
        if not inside and len(chosen) < MOST_DIRECTORIES:
            chosen.append(ColdDirectory(path, samples, cold))
    return tuple(chosen)


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")


def by_size(measured: Sequence[Measured], judgement: Judgement) -> tuple[SizeClass, ...]:
    """The samples by the size of their files, a factor of 16 a class."""
    counts: dict[int, list[int]] = {}
    for one, is_cold in zip(measured, judgement.cold, strict=False):
        count = counts.setdefault(-(-one.sample.file.size.bit_length() // 4), [0, 0])
        count[0] += 1
        count[1] += is_cold
    return tuple(
        SizeClass(1 << (4 * (group - 1)) if group else 0, 1 << (4 * group), samples, cold)
        for group, (samples, cold) in sorted(counts.items())
    )


def _rounded(share: float) -> float:
    return round(share, 6)
