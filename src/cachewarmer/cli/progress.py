"""Shows the progress of a job: a line with a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, TextIO

from cachewarmer.amounts import counted, duration, size
from cachewarmer.cli import bar
from cachewarmer.cli.bounds import short
from cachewarmer.cli.colours import Shade, paint
from cachewarmer.cli.streams import note, on_terminal
from cachewarmer.cli.text import CLEAR_LINE
from cachewarmer.model import JobState, JobStatus, ScanTotals
from cachewarmer.rates import Rate, Rates

if TYPE_CHECKING:
    from cachewarmer.targets.breaker import Outage

PLAIN_SECONDS = 10.0
"""Time between two lines if stderr is not a terminal."""


FILE_BYTES = 64 * 1024
"""What a file costs in addition to its bytes, as the number of bytes that could be read in the same time. Without this,
the bar would seem to stand still while small files are read.
"""


class Part(NamedTuple):
    """A part of the progress line."""

    weight: int
    """How important it is: if the line is too long for the terminal, the parts with the lowest weight are left out."""
    text: str
    shade: Shade = Shade.PLAIN


class Progress:
    """Shows the progress of jobs on stderr. Call it with every status.

    It is a context manager, which clears the line at its end.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = on_terminal(sys.stderr)
        self._last_line = time.monotonic()
        self._rates = Rates()
        self._warning = ""
        self._outages: Sequence[Outage] = ()
        self.files = 0
        """Number of files read according to the last status, including those of unfinished items."""

    def __call__(self, status: JobStatus) -> None:
        now = time.monotonic()
        files = self.files = sum(tally.files for tally in status.tallies)
        read = sum(tally.bytes for tally in status.tallies)
        parts = self.parts(status, files, read, self._rates.add(now, files, read))
        self._show(now, parts, share_done(status, files, read), paused=status.state is JobState.PAUSED)

    def outages(self, outages: Sequence[Outage]) -> None:
        """Sets the addresses that do not answer at present, which are shown with the next status."""
        self._outages = outages

    def warn(self, text: str) -> None:
        """Shows a warning once as a message, and in the progress line until this is called with an empty text."""
        if text and not self._warning and not self.quiet:
            note(f"{CLEAR_LINE if self.terminal else ''}{paint(text, Shade.WARNING, sys.stderr)}")
        self._warning = text

    def parts(self, status: JobStatus, files: int, read: int, rate: Rate) -> list[Part]:
        """The parts of the line: files, bytes, rates, and once the scan is done, what is left and for how long."""
        parts = [
            Part(8, counted(files, "file")),
            Part(3, size(read)),
            Part(4, f"{rate.files:,.0f} files/s"),
            Part(6, f"{size(rate.bytes)}/s"),
        ]
        left_files, left_bytes = status.scan.files - files, status.scan.bytes - read
        if status.state is JobState.PAUSED:
            parts.append(Part(6, "paused", Shade.WARNING))
        elif not status.scan.finished:
            parts.append(Part(6, f"scanning: {counted(status.scan.files, 'file')}"))
            parts.append(Part(1, counted(status.scan.directories, "directory")))
        elif left_files > 0 or left_bytes > 0:
            parts.append(Part(2, f"{counted(max(0, left_files), 'file')} left"))
            parts.append(Part(5, f"{size(max(0, left_bytes))} left"))
            eta = rate.seconds_for(left_files, left_bytes)
            if eta and not self._outages:
                parts.append(Part(7, f"ETA {duration(eta)}"))
        if status.state is not JobState.PAUSED and (said := short(status.bound.bound)):
            parts.append(Part(2, said))
        if status.failed_files:
            parts.append(Part(9, f"{status.failed_files:,} failed", Shade.BAD))
        if self._warning:
            parts.append(Part(9, self._warning, Shade.WARNING))
        now = time.monotonic()
        parts += [
            Part(11, f"{one.address}: no answer for {max(0, now - one.since):.0f} s", Shade.WARNING)
            for one in self._outages
        ]
        return parts

    def scanned(self, totals: ScanTotals) -> None:
        """Shows the progress of a scan alone."""
        parts = [Part(3, counted(totals.files, "file")), Part(2, size(totals.bytes))]
        self._show(time.monotonic(), [*parts, Part(1, counted(totals.directories, "directory"))])

    def said(self, text: str) -> None:
        """Shows a text, for steps that have no counts."""
        self._show(time.monotonic(), [Part(1, text)])

    def _show(self, now: float, parts: Sequence[Part], share: float | None = None, *, paused: bool = False) -> None:
        if self.quiet:
            return
        if self.terminal:
            line = drawn(parts, share, bar.columns_of(sys.stderr) - 1, sys.stderr, paused=paused)
            # The cursor is left at the start, where it stays if the terminal becomes narrower and wraps the line.
            sys.stderr.write(f"{CLEAR_LINE}{line}\r")
            sys.stderr.flush()
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            print(joined(parts), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal and not self.quiet:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()


def share_done(status: JobStatus, files: int, read: int) -> float | None:
    """How much of a job's work is done, from 0 to 1; None while its scan continues. 1 only if nothing is left.

    ``files`` and ``read``, which is in bytes, include what has been read of unfinished items.
    """
    scan = status.scan
    if not scan.finished:
        return None
    total = scan.files * FILE_BYTES + scan.bytes
    return min(1.0, (files * FILE_BYTES + read) / total) if total else 1.0


def drawn(parts: Sequence[Part], share: float | None, columns: int, stream: TextIO, *, paused: bool = False) -> str:
    """The line, in at most ``columns`` characters without colour codes: a bar if the share is known, and the parts."""
    before = ""
    if share is not None:
        # Rounded down, so that it is less than 100 % until the last file is done.
        percent = f"{int(100 * share):3d} %"
        length = bar.length(columns)
        done = bar.filled(share, length, bar.characters(stream))
        shade = Shade.WARNING if paused else Shade.GOOD
        frame = f"[{paint(done, shade, stream)}{' ' * (length - len(done))}] {percent}  " if length else ""
        columns -= length + 4 + len(percent) if length else 0
        if not frame:
            parts = [Part(10, percent.strip()), *parts]
        before = frame
    kept = fitting(parts, columns)
    room = max(1, columns)
    if len(kept) == 1:
        kept = [kept[0]._replace(text=kept[0].text[:room])]
    return before + ", ".join(paint(part.text, part.shade, stream) for part in kept)


def fitting(parts: Sequence[Part], columns: int) -> list[Part]:
    """The parts that fit into one line of ``columns`` characters: the least important are left out, but one remains."""
    kept = list(parts)
    while len(joined(kept)) > columns and len(kept) > 1:
        kept.remove(min(kept, key=lambda part: part.weight))
    return kept


def joined(parts: Sequence[Part]) -> str:
    """The parts in one line, without colours."""
    return ", ".join(part.text for part in parts)
