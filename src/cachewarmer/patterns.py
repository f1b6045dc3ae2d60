r"""Patterns for names and paths, compiled so that none takes more than linear time. Pure.

One component follows the rules of Go's ``filepath.Match``: ``*``, ``?``, ``[a-z]``, ``[^a-z]`` and ``\``. A path is
matched component by component, and there ``**`` stands for any number of components. The components are a small
automaton whose states are the bits of an integer, so that no pattern is ever tried in more than one way at a time.
Names are ``str`` as ``paths.to_text`` makes them: a byte that isn't UTF-8 counts as one character, as in Go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from cachewarmer.errors import UsageError

MAX_PATTERN_CHARS = 1024
"""Maximum length of a pattern."""
MAX_BRACES = 256
"""Patterns that the braces of one pattern may stand for."""

Name = re.Pattern[str]
_ANY = re.compile("[^/]*", re.DOTALL)


class PathPattern:
    """A pattern for paths. ``parts`` are the components; None is ``**``: none, one or more of any name.

    The last component is never None: ``a/**`` is everything below ``a``, so it ends with a component of any name.
    """

    __slots__ = ("_free", "last", "parts", "start")

    def __init__(self, parts: list[Name | None]) -> None:
        kept = [part for number, part in enumerate(parts) if part is not None or number == 0 or parts[number - 1]]
        if kept and kept[-1] is None:
            kept.append(_ANY)
        self.parts = tuple(kept)
        self.last = len(kept) - 1
        self._free = sum(1 << number for number, part in enumerate(kept) if part is None)
        self.start = self._closed(1) if kept else 0
        """The state in which nothing was matched yet."""

    def step(self, state: int, name: str) -> int:
        """The state after one more component; 0 if nothing can match any more. See ``matches`` for the end."""
        made = 0
        rest = state
        while rest:
            bit = rest & -rest
            rest ^= bit
            part = self.parts[bit.bit_length() - 1]
            if part is None:
                made |= bit
            elif bit.bit_length() <= self.last and part.fullmatch(name):
                made |= bit << 1
        return self._closed(made)

    def ends(self, state: int) -> Name | None:
        """What the last component has to match in this state; None if the path can't end here."""
        return self.parts[self.last] if self.parts and state >> self.last & 1 else None

    def fullmatch(self, path: str) -> bool:
        """Whether the whole path matches."""
        if not path or not self.parts:
            return not path and not self.parts
        *above, name = path.split("/")
        state = self.start
        for one in above:
            state = self.step(state, one)
            if not state:
                return False
        last = self.ends(state)
        return last is not None and last.fullmatch(name) is not None

    def _closed(self, state: int) -> int:
        """With the states that are reached because ``**`` may also stand for nothing: two never follow each other."""
        return state | (state & self._free) << 1


def compile_path(pattern: str) -> PathPattern:
    """A pattern for paths from the target on; slashes at its ends, and empty components, don't count.

    Raises:
        UsageError: the pattern is too long, or malformed where Go says ErrBadPattern.
    """
    _check_length(pattern)
    parts = (part for part in pattern.split("/") if part)
    return PathPattern([None if part == "**" else compile_name(part) for part in parts])


def compile_name(pattern: str) -> Name:
    """The regular expression for one component.

    A ``*`` takes as little as lets the text up to the next ``*`` match and is never tried again (which loses no match,
    as in Go), so that no pattern takes exponential time. Raises ``UsageError`` as ``compile_path`` does.
    """
    _check_length(pattern)
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
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>[^/]*?{segment})" for segment in rest[:-1] if segment)
    return re.compile(f"{first}{middle}[^/]*{rest[-1]}", re.DOTALL)


def _check_length(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UsageError(f"pattern {pattern[:40]!r}…: longer than {MAX_PATTERN_CHARS} characters")


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
        raise UsageError(f"pattern {pattern!r}: the [ ] is incomplete at character {position + 1}")
    if char == "\\":
        position += 1
        char = pattern[position : position + 1]
        if not char:
            raise UsageError(f"pattern {pattern!r}: nothing follows the last backslash")
    return char, position + 1


# -- braces --------------------------------------------------------------------------------------------------------


def expand_braces(pattern: str) -> list[str]:
    """The patterns that ``{a,b}`` stands for, as a shell expands it; braces without a comma in them are ordinary.

    Raises:
        UsageError: there are more than ``MAX_BRACES``, or a comma stands outside of braces: it separates nothing there.
    """
    _check_length(pattern)
    done: list[str] = []
    open_ones = [pattern]
    while open_ones:
        one = open_ones.pop()
        found = _first_braces(one)
        if found is None:
            _refuse_comma(one, pattern)
            done.append(one)
        else:
            before, choices, after = found
            open_ones.extend(before + choice + after for choice in reversed(choices))
        if len(done) + len(open_ones) > MAX_BRACES:
            raise UsageError(f"pattern {pattern!r}: its braces expand to more than {MAX_BRACES} patterns")
    return done


def _refuse_comma(one: str, pattern: str) -> None:
    if any(char == "," and not depth for _, char, depth in _plain_characters(one)):
        raise UsageError(
            f"pattern {pattern!r}: a comma does not separate patterns",
            advice="give the option several times, or write {a,b}; a comma in a name is written \\,",
        )


def _first_braces(pattern: str) -> tuple[str, list[str], str] | None:
    """The first braces that hold a comma: what stands before, the choices, what follows."""
    begin = -1
    cuts: list[int] = []
    for position, char, depth in _plain_characters(pattern):
        if char == "{" and depth == 1:
            begin, cuts = position, [position]
        elif char == "," and depth == 1:
            cuts.append(position)
        elif char == "}" and depth == 0 and len(cuts) > 1:
            cuts.append(position)
            choices = [pattern[left + 1 : right] for left, right in pairwise(cuts)]
            return pattern[:begin], choices, pattern[position + 1 :]
    return None


def _plain_characters(pattern: str) -> Iterator[tuple[int, str, int]]:
    """The braces and commas that are neither escaped nor in a ``[ ]``, each with its place and how many braces are
    open after it. A brace that is never closed is an ordinary character.
    """
    positions = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
        elif char == "[":
            position = _class_end(pattern, position)
        elif char in "{},":
            positions.append(position)
        position += 1
    closed = _closed_braces(pattern, positions)
    depth = 0
    for position in positions:
        char = pattern[position]
        if char in "{}" and position not in closed:
            continue
        depth += (char == "{") - (char == "}")
        yield position, char, depth


def _closed_braces(pattern: str, positions: list[int]) -> set[int]:
    pairs: set[int] = set()
    begun: list[int] = []
    for position in positions:
        if pattern[position] == "{":
            begun.append(position)
        elif pattern[position] == "}" and begun:
            pairs |= {begun.pop(), position}
    return pairs


def _class_end(pattern: str, start: int) -> int:
    """Where the ``[ ]`` that begins at ``start`` ends; the end of the pattern where it is malformed."""
    position = start + 1
    while position < len(pattern) and pattern[position] != "]":
        position += 1 + (pattern[position] == "\\")
    return position
