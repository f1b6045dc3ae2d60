r"""Translates the paths of another machine into those of the target, by rules such as ``P:\=/projects`` (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cachewarmer.errors import UsageError
from cachewarmer.paths import to_bytes
from cachewarmer.values import dataclass

_DRIVE = rb"[A-Za-z]:"


@dataclass(frozen=True, slots=True)
class PathMap:
    """Prefixes of paths and the replacement of each; the longest prefix that matches is used."""

    rules: tuple[tuple[bytes, bytes, bool], ...] = ()
    """The prefix as ``_compared`` returns it, its replacement, and whether it is a Windows path; longest first."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> PathMap:
        """Parses rules of the form ``FROM=TO``, the values of ``--map``.

        Raises:
            UsageError: a rule has another form, or two rules give one prefix different replacements.
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
        """The path on the target; a path that no prefix matches is returned unchanged."""
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
    """The path with its drive letter in upper case, because the case of a drive letter does not matter."""
    return path[:1].upper() + path[1:] if re.match(_DRIVE, path) else path
