"""An event loop whose clock jumps: where everything waits for a time, it is that time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Never waits: the time that it would have waited is added to ``passed``."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing will ever happen"
            self.passed += max(0.0, timeout)
        return ready


class ClockLoop(asyncio.SelectorEventLoop):
    """Begins at 0."""

    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed


def run(main: Coroutine[Any, Any, object]) -> None:
    """Runs a test's coroutine on such a loop."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(main)
