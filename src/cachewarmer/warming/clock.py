"""Whether the wall clock of this machine is kept by NTP or PTP, so that it agrees with those of other machines."""

from __future__ import annotations

import ctypes
import time

TIMEX_BYTES = 512
"""More than a ``struct timex`` of any architecture has; all zero, it asks and changes nothing."""
TIME_ERROR = 5
"""What ``adjtimex`` returns where the clock is not synchronised."""
ASKED_SECONDS = 60.0

_asked: list[tuple[float, bool]] = []
"""When it was asked last, and the answer."""


def is_synchronised() -> bool:
    """As the kernel says; asked once a minute. Where it can't be asked, it is not known to be."""
    now = time.monotonic()
    if not _asked or now - _asked[-1][0] > ASKED_SECONDS:
        _asked[:] = [(now, _ask())]
    return _asked[-1][1]


def _ask() -> bool:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return 0 <= int(state) < TIME_ERROR
