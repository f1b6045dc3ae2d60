"""Which files a job wants. Pure: names, sizes and times in, yes or no out.

A pattern without ``/`` matches the base name by the rules of Go's ``filepath.Match``; that is what the first CacheWarmer
promised. A pattern with ``/`` matches the path below the target, component by component, and there ``**`` stands for
any number of components. Names are ``str`` with ``surrogateescape``: a byte that is no UTF-8 counts as one character,
as in Go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cachewarmer.errors import UsageError


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression for one pattern; use its ``fullmatch``.

    A ``*`` takes as little as lets the text up to the next ``*`` match and is never tried again (which loses no match,
    as in Go), so that no pattern takes exponential time.

    Raises:
        UsageError: the pattern is malformed where Go says ErrBadPattern.
    """
    if "/" not in pattern:
        return re.compile(_component(pattern), re.DOTALL)
    parts = [part for part in pattern.split("/") if part]
    expression = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            expression += ".*" if last else "(?:[^/]+/)*"
        else:
            expression += _component(part) + ("" if last else "/")
    return re.compile(expression, re.DOTALL)


def _component(pattern: str) -> str:
    """One pattern without ``/`` as an expression that matches a text without ``/``."""
    segments = [""]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "*":
            segments.append("")
            position += 1
        elif char == "?":
            segments[-1] += "[^/]"
            position += 1
        elif char == "[":
            piece, position = _char_class(pattern, position)
            segments[-1] += piece
        else:
            literal, position = _literal(pattern, position, in_class=False)
            segments[-1] += re.escape(literal)
    first, *rest = segments
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{segment})" for segment in rest[:-1] if segment)
    return f"{first}{middle}[^/]*{rest[-1]}"


def _char_class(pattern: str, position: int) -> tuple[str, int]:
    """``[a-z]`` or ``[^a-z]`` at ``position``: its expression, and where it ends."""
    start = position
    position += 1
    negated = pattern[position : position + 1] == "^"
    position += negated
    ranges: list[str] = []
    while True:
        if pattern[position : position + 1] == "]" and ranges:
            break
        if position >= len(pattern):
            raise UsageError(f"pattern {pattern!r}: the [ at character {start + 1} is never closed")
        low, position = _literal(pattern, position, in_class=True)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _literal(pattern, position + 1, in_class=True)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    wanted = "".join(ranges)
    if not wanted:
        return ("[^/]" if negated else "(?!)"), position + 1
    return (f"[^{wanted}/]" if negated else f"[{wanted}]"), position + 1


def _literal(pattern: str, position: int, *, in_class: bool) -> tuple[str, int]:
    char = pattern[position : position + 1]
    if in_class and char in {"", "-", "]"}:
        raise UsageError(f"pattern {pattern!r}: a character is missing in the [ ] at character {position + 1}")
    if char == "\\":
        position += 1
        char = pattern[position : position + 1]
        if not char:
            raise UsageError(f"pattern {pattern!r}: nothing follows the last backslash")
    return char, position + 1


class FileFilter:
    """The filters of one job, compiled.

    Exclusion wins; an empty inclusion list includes all; limits work with or without patterns.
    """

    def __init__(
        self,
        inclusion: Iterable[str] = (),
        exclusion: Iterable[str] = (),
        *,
        max_file_bytes: int = 0,
        min_file_bytes: int = 0,
        newer_than: float = 0.0,
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self.min_file_bytes = min_file_bytes
        self.newer_than = newer_than
        inclusion, exclusion = tuple(inclusion), tuple(exclusion)
        self._include_names, self._include_paths = _matchers(inclusion)
        self._exclude_names, self._exclude_paths = _matchers(exclusion)
        self._includes_all = not inclusion
        self._pruned = [compile_pattern("/" + one[:-3]) for one in exclusion if one.endswith("/**")]
        self.uses_names = bool(inclusion or exclusion)
        """Whether any pattern is there: if not, callers need not decode names."""

    def wants_size(self, size: int, mtime: float) -> bool:
        """Whether a file of ``size`` bytes, modified at ``mtime`` (Unix seconds), is within the limits."""
        return not (
            (self.max_file_bytes and size > self.max_file_bytes)
            or size < self.min_file_bytes
            or (self.newer_than and mtime < self.newer_than)
        )

    def wants_name(self, path: str) -> bool:
        """Whether the patterns let the file through; ``path`` is relative to the target."""
        name = path.rpartition("/")[2] if "/" in path else path
        if any(one.fullmatch(name) for one in self._exclude_names) or any(
            one.fullmatch(path) for one in self._exclude_paths
        ):
            return False
        return (
            self._includes_all
            or any(one.fullmatch(name) for one in self._include_names)
            or any(one.fullmatch(path) for one in self._include_paths)
        )

    def prunes(self, path: str) -> bool:
        """Whether everything below the directory is excluded (``path/**``), so that it need not be listed."""
        return any(one.fullmatch(path) for one in self._pruned)


def _matchers(
    patterns: Sequence[str],
) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
    names = [compile_pattern(one) for one in patterns if "/" not in one]
    paths = [compile_pattern(one) for one in patterns if "/" in one]
    return names, paths


def in_name_range(name: bytes, first: bytes, last: bytes) -> bool:
    """``StartFileFilter``..``EndFileFilter``: inclusive, bytewise; an empty bound does not bound."""
    return (not first or name >= first) and (not last or name <= last)
