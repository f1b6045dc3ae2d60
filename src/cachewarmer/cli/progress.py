"""Shows how a job goes while it does: one line kept up to date on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque

from cachewarmer.cli.text import duration, size
from cachewarmer.model import JobState, JobStatus, ScanTotals

PLAIN_SECONDS = 10.0
"""Between two lines where stderr is no terminal."""
RATE_SECONDS = 10.0
"""The time that rates are taken over."""


class Progress:
    """Feed it with every status; ``close`` clears its line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._past: deque[tuple[float, int, int]] = deque()

    def __call__(self, status: JobStatus) -> None:
        now = time.monotonic()
        files = sum(tally.files for tally in status.tallies)
        read = sum(tally.bytes for tally in status.tallies)
        self._past.append((now, files, read))
        while len(self._past) > 2 and now - self._past[0][0] > RATE_SECONDS:
            self._past.popleft()
        self._show(now, self.line(status, files, read))

    def line(self, status: JobStatus, files: int, read: int) -> str:
        """Files, bytes, rates, and once the scan is done what is left and for how long."""
        then, files_then, read_then = self._past[0]
        seconds = self._past[-1][0] - then
        file_rate = (files - files_then) / seconds if seconds else 0.0
        byte_rate = (read - read_then) / seconds if seconds else 0.0
        parts = [f"{files:,} files", size(read), f"{file_rate:,.0f} files/s", f"{size(byte_rate)}/s"]
        left_files, left_bytes = status.scan.files - files, status.scan.bytes - read
        if status.state is JobState.PAUSED:
            parts.append("paused")
        elif not status.scan.finished:
            parts.append(f"scanning: {status.scan.files:,} files in {status.scan.directories:,} directories")
        elif left_files > 0 or left_bytes > 0:
            parts.append(f"left {max(0, left_files):,} files, {size(max(0, left_bytes))}")
            eta = (
                left_bytes / byte_rate if byte_rate and left_bytes > 0 else left_files / file_rate if file_rate else 0.0
            )
            if eta:
                parts.append(f"ETA {duration(eta)}")
        if status.failed_files:
            parts.append(f"{status.failed_files:,} failed")
        return ", ".join(parts)

    def scanned(self, totals: ScanTotals) -> None:
        """The same while only counting."""
        text = f"{totals.files:,} files, {size(totals.bytes)} in {totals.directories:,} directories"
        self._show(time.monotonic(), text)

    def _show(self, now: float, text: str) -> None:
        if self.quiet:
            return
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{text[: _columns() - 1]}")
            sys.stderr.flush()
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.terminal and not self.quiet:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _columns() -> int:
    import shutil

    return max(20, shutil.get_terminal_size().columns)
