"""The window of this process at each address, and the share of each session in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from cachewarmer.config import NfsSettings
from cachewarmer.targets.base import Session
from cachewarmer.targets.reach import Line


class Windows:
    """The windows of all addresses, in calls. ``lent`` returns the sessions in use, which share the windows."""

    def __init__(self, nfs: NfsSettings, lent: Callable[[], Collection[Session]]) -> None:
        self.nfs = nfs
        """The current settings, whose window may be changed while sessions are open."""
        self._lent = lent

    def calls(self, line: Line | None = None) -> int:
        """The window of an address; None: the one with which an address begins."""
        return min((line.window_calls if line is not None else 0) or self.nfs.window_calls, self.nfs.most_calls)

    def most(self, lines: Sequence[Line]) -> int:
        """The largest window of some addresses."""
        return max((self.calls(line) for line in lines), default=self.calls())

    def limit(self, calls: int, lines: Sequence[Line]) -> None:
        """Sets the window of all addresses, or the largest that they may have if windows are steered."""
        calls = max(1, calls)
        auto = self.nfs.window_auto
        self.nfs = replace(self.nfs, window_max_calls=calls) if auto else replace(self.nfs, window_calls=calls)
        for line in lines:
            self.share(line)

    def begin_with(self, calls: int) -> None:
        """Sets the window with which an address begins."""
        self.nfs = replace(self.nfs, window_calls=min(calls, self.nfs.window_max_calls))

    def steer(self, line: Line, calls: int) -> None:
        """Sets the window of one address."""
        if calls != line.window_calls:
            line.window_calls = calls
            self.share(line)

    def share(self, line: Line) -> None:
        """Divides the window of an address among its sessions in use (of different exports, or different users)."""
        calls = self.calls(line)
        if len(line.sessions) == 1:
            line.sessions[0].set_window(calls)
            return
        lent = self._lent()
        in_use = [session for session in line.sessions if session in lent]
        for number, session in enumerate(in_use):
            session.set_window(max(1, (calls + number) // len(in_use)))
