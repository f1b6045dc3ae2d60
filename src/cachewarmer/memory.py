"""How much address space this process may use: on some machines it is limited (``ulimit -v``)."""

from __future__ import annotations

import resource


def most_memory() -> int | None:
    """In bytes; None: there is no limit."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if most == resource.RLIM_INFINITY else most


def memory_left(path: str = "/proc/self/statm") -> int | None:
    """Bytes that it may still take; None: there is no limit, or it is not known how many (proc(5))."""
    most = most_memory()
    if most is None:
        return None
    try:
        with open(path, "rb") as file:
            return most - int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
