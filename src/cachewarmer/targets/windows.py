"""The window of this process at each address, and the share of each session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from cachewarmer.config import NfsSettings
from cachewarmer.targets.base import Session
from cachewarmer.targets.reach import Line


class Windows:
    """``lent`` says which sessions are in use: only they have a part of their address's window."""

    def __init__(self, nfs: NfsSettings, lent: Callable[[], Collection[Session]]) -> None:
        self.nfs = nfs
        """The settings as they stand: the window in them may be changed while sessions are open."""
        self._lent = lent

    def calls(self, line: Line | None = None) -> int:
        """The window of an address; without one, what an address begins with."""
        return min((line.window_calls if line is not None else 0) or self.nfs.window_calls, self.nfs.most_calls)

    def most(self, lines: Sequence[Line]) -> int:
        """The largest window of some addresses."""
        return max((self.calls(line) for line in lines), default=self.calls())

    def limit(self, calls: int, lines: Sequence[Line]) -> None:
        """Changes the window of all addresses; where it is steered, the largest that it may have."""
        calls = max(1, calls)
        auto = self.nfs.window_auto
        self.nfs = replace(self.nfs, window_max_calls=calls) if auto else replace(self.nfs, window_calls=calls)
        for line in lines:
            self.share(line)

    def begin_with(self, calls: int) -> None:
        """Changes what an address begins with."""
        self.nfs = replace(self.nfs, window_calls=min(calls, self.nfs.window_max_calls))

    def steer(self, line: Line, calls: int) -> None:
        """Changes the window of one address."""
        if calls != line.window_calls:
            line.window_calls = calls
            self.share(line)

    def share(self, line: Line) -> None:
        """One window an address: where several sessions of it are in use (other exports, other uids), each has a part."""
        calls = self.calls(line)
        if len(line.sessions) == 1:
            line.sessions[0].set_window(calls)
            return
        lent = self._lent()
        in_use = [session for session in line.sessions if session in lent]
        for number, session in enumerate(in_use):
            session.set_window(max(1, (calls + number) // len(in_use)))
