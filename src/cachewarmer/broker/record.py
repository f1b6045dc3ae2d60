"""How totals, tallies and samples are kept by a broker: JSON in ASCII, so that paths of any bytes survive. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from cachewarmer.model import ERROR_SAMPLE, PathError, Receipt, ScanTotals, SlowPath, Tally, WorkItem, item_id

POISON_FILES_NAMED = 5
"""How many of a poisoned item's files the error sample names."""


def dump(value: object) -> str:
    """Compact ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def printable(text: str) -> str:
    """Text that any store takes: bytes that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def dump_scan(totals: ScanTotals) -> str:
    """What ``load_scan`` reads."""
    return dump(asdict(totals))


def load_scan(text: str) -> ScanTotals:
    """The totals of a stored record; the empty text is a scan that has not begun."""
    if not text:
        return ScanTotals()
    values: dict[str, Any] = json.loads(text)
    values["errors"] = load_errors(values.get("errors", ()))
    values["histogram"] = tuple(values.get("histogram", ()))
    values["warnings"] = tuple(values.get("warnings", ()))
    return ScanTotals(**values)


def load_errors(rows: Sequence[Sequence[str]]) -> tuple[PathError, ...]:
    """Rows of JSON as path errors; earlier versions kept the path and one line."""
    return tuple(PathError(*row) for row in rows)


def load_slowest(rows: Sequence[Sequence[Any]]) -> tuple[SlowPath, ...]:
    """Rows of JSON as slow paths."""
    return tuple(SlowPath(path, seconds) for path, seconds in rows)


def sample_within(errors: Sequence[PathError], most_bytes: int) -> tuple[PathError, ...]:
    """The first of ``errors`` whose JSON together stays within ``most_bytes``; an over-long one is cut short."""
    kept: list[PathError] = []
    used = 2
    for error in errors[:ERROR_SAMPLE]:
        length = len(dump(error)) + 1
        if length > most_bytes // 4:
            short = most_bytes // 64
            error = PathError(error.path[-short:], error.error[:short])  # noqa: PLW2901  # the cut one takes its place
            length = len(dump(error)) + 1
        if used + length > most_bytes:
            break
        kept.append(error)
        used += length
    return tuple(kept)


def add_all(tally: Tally, receipts: Sequence[Receipt]) -> Tally:
    """The tally with all of ``receipts`` in it."""
    for receipt in receipts:
        tally = tally.add(receipt)
    return tally


def with_id(item: WorkItem) -> WorkItem:
    """The item with an id: its own, or one made from all that says what it is, so that a repeat has the same."""
    if item.item_id:
        return item
    listed = "" if item.files is None else "\0".join(entry.path for entry in item.files)
    chosen = (item.start_file_filter, item.end_file_filter) if item.apply_filter else ("", "")
    filters = dump([item.wanted.include, item.wanted.exclude, item.wanted.max_file_bytes])
    made = item_id(item.job_id, item.path, item.start, item.stop, *chosen, filters, item.access.export, listed)
    return replace(item, item_id=made)


def poison_sample(item: WorkItem, reason: str) -> tuple[PathError, ...]:
    """What the error sample of a job says of an item that was given up."""
    base = f"{item.access.export.rstrip('/')}/{item.path.strip('/')}"
    if not item.files or len(item.files) == 1:
        name = item.files[0].path if item.files else ""
        return (PathError(f"{base.rstrip('/')}/{name}" if name else base, reason),)
    rows = [PathError(f"{base.rstrip('/')}/{entry.path}", reason) for entry in item.files[:POISON_FILES_NAMED]]
    return tuple(rows)


def given_up(deliveries: int, last_error: str) -> str:
    """The reason of an item that goes to poison because of too many failed deliveries."""
    return f"given up after {deliveries} deliveries: {last_error or 'each worker that held it ended without a word'}"
