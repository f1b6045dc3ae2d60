r"""Translates paths of another machine into those of the target: ``P:\=/projects`` (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cachewarmer.errors import UsageError
from cachewarmer.paths import to_bytes
from cachewarmer.values import dataclass

_DRIVE = rb"[A-Za-z]:"


@dataclass(frozen=True, slots=True)
class PathMap:
    """Prefixes of paths and what replaces each; the longest one that fits is used."""

    rules: tuple[tuple[bytes, bytes, bool], ...] = ()
    """Prefix as ``_compared`` has it, its replacement without a slash at the end, and whether it is of Windows."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> PathMap:
        """From ``FROM=TO`` as an option has it.

        Raises:
            UsageError: one has another form, or two give one prefix different replacements.
        """
        rules: dict[bytes, tuple[bytes, bytes, bool]] = {}
        for text in texts:
            old, equals, new = to_bytes(text).partition(b"=")
            if not old or not equals:
                raise UsageError(f"--map {text}: write FROM=TO, such as 'P:\\=/projects'")
            windows = _is_windows(old)
            key = _compared(old.replace(b"\\", b"/") if windows else old).rstrip(b"/")
            replacement = new if new == b"/" else new.rstrip(b"/")
            if rules.setdefault(key, (key, replacement, windows))[1] != replacement:
                raise UsageError(f"--map {text}: that prefix is mapped to something else already")
        return cls(tuple(sorted(rules.values(), key=lambda one: -len(one[0]))))

    def __call__(self, path: bytes) -> bytes:
        """The path on the target; one that no prefix fits is left as it is."""
        for prefix, new, windows in self.rules:
            turned = path.replace(b"\\", b"/") if windows and _is_windows(path) else path
            rest = turned[len(prefix) :]
            if _compared(turned).startswith(prefix) and (not rest or rest.startswith(b"/")):
                return new.rstrip(b"/") + rest if rest else new
        return path


UNMAPPED = PathMap()


def _is_windows(path: bytes) -> bool:
    return b"\\" in path or re.match(_DRIVE, path) is not None


def _compared(path: bytes) -> bytes:
    """Letters of drives are the same in upper and lower case."""
    return path[:1].upper() + path[1:] if re.match(_DRIVE, path) else path
