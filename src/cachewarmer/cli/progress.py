"""Shows how a job goes while it does: one line kept up to date on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from cachewarmer.cli.bounds import short
from cachewarmer.cli.streams import note, on_terminal
from cachewarmer.cli.text import CLEAR_LINE, duration, size
from cachewarmer.model import JobState, JobStatus, ScanTotals
from cachewarmer.rates import Rate, Rates

if TYPE_CHECKING:
    from cachewarmer.targets.breaker import Outage

PLAIN_SECONDS = 10.0
"""Between two lines where stderr is no terminal."""


class Part(NamedTuple):
    """A part of the line."""

    weight: int
    """How much it matters: where the line is too long for the terminal, the lightest goes first."""
    text: str


class Progress:
    """Feed it with every status; leaving it clears its line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = on_terminal(sys.stderr)
        self._last_line = time.monotonic()
        self._rates = Rates()
        self._warning = ""
        self._outages: Sequence[Outage] = ()
        self.files = 0
        """Of the last status, with those of items that are being read."""

    def __call__(self, status: JobStatus) -> None:
        now = time.monotonic()
        files = self.files = sum(tally.files for tally in status.tallies)
        read = sum(tally.bytes for tally in status.tallies)
        self._show(now, self.parts(status, files, read, self._rates.add(now, files, read)))

    def outages(self, outages: Sequence[Outage]) -> None:
        """The addresses that do not answer at present: shown with the next status."""
        self._outages = outages

    def warn(self, text: str) -> None:
        """Something that holds from now on, until it is called with nothing: said once, and on the line."""
        if text and not self._warning and not self.quiet:
            note(f"{CLEAR_LINE if self.terminal else ''}{text}")
        self._warning = text

    def parts(self, status: JobStatus, files: int, read: int, rate: Rate) -> list[Part]:
        """Files, bytes, rates, and once the scan is done what is left and for how long."""
        parts = [
            Part(8, f"{files:,} files"),
            Part(3, size(read)),
            Part(4, f"{rate.files:,.0f} files/s"),
            Part(5, f"{size(rate.bytes)}/s"),
        ]
        left_files, left_bytes = status.scan.files - files, status.scan.bytes - read
        if status.state is JobState.PAUSED:
            parts.append(Part(6, "paused"))
        elif not status.scan.finished:
            parts.append(Part(6, f"scanning: {status.scan.files:,} files"))
            parts.append(Part(1, f"{status.scan.directories:,} directories"))
        elif left_files > 0 or left_bytes > 0:
            parts.append(Part(2, f"{max(0, left_files):,} files left"))
            parts.append(Part(6, f"{size(max(0, left_bytes))} left"))
            eta = rate.seconds_for(left_files, left_bytes)
            if eta and not self._outages:
                parts.append(Part(7, f"ETA {duration(eta)}"))
        if status.state is not JobState.PAUSED and (said := short(status.bound.bound)):
            parts.append(Part(2, said))
        if status.failed_files:
            parts.append(Part(9, f"{status.failed_files:,} failed"))
        if self._warning:
            parts.append(Part(9, self._warning))
        now = time.monotonic()
        parts += [Part(10, f"{one.address}: no answer for {max(0, now - one.since):.0f} s") for one in self._outages]
        return parts

    def scanned(self, totals: ScanTotals) -> None:
        """The same while only counting."""
        parts = [Part(3, f"{totals.files:,} files"), Part(2, size(totals.bytes))]
        self._show(time.monotonic(), [*parts, Part(1, f"{totals.directories:,} directories")])

    def said(self, text: str) -> None:
        """The same for what has no counts."""
        self._show(time.monotonic(), [Part(1, text)])

    def _show(self, now: float, parts: Sequence[Part]) -> None:
        if self.quiet:
            return
        if self.terminal:
            columns = shutil.get_terminal_size().columns
            sys.stderr.write(f"{CLEAR_LINE}{fit(parts, columns - 1)[: max(1, columns - 1)]}")
            sys.stderr.flush()
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            print(", ".join(part.text for part in parts), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal and not self.quiet:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()


def fit(parts: Sequence[Part], columns: int) -> str:
    """The parts in one line of at most ``columns`` characters: what matters least is left out first."""
    kept = list(parts)
    while len(line := ", ".join(part.text for part in kept)) > columns and len(kept) > 1:
        kept.remove(min(kept, key=lambda part: part.weight))
    return line
