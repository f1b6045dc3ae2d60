"""Which known word was most likely meant by one that is not known. Pure; imports nothing of the package."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_KNOWN = 10_000
"""Words that are compared, so that a list of any length costs no more than a fraction of a second."""
MOST_CHARACTERS = 255
"""Longer words are compared with nothing."""
_NUMBERS = r"\d+"


def nearest(text: str, known: Iterable[str]) -> str:
    """The known word that differs from ``text`` by the fewest slips, of several the first; empty: none is near.

    A slip is a character too many, too few, or a wrong one, or two that changed places (optimal string alignment). The
    longer the word, the more are let pass. Upper and lower case are one slip for the whole word, and so is an end that
    is missing from a word with no other such beginning. Another number isn't a slip: ``shot43`` is not meant by ``shot42``.
    """
    if not 3 <= len(text) <= MOST_CHARACTERS:
        return ""
    words = [word for word, _ in zip(known, range(MOST_KNOWN), strict=False) if len(word) <= MOST_CHARACTERS]
    lower = text.casefold()
    best, slips = "", 1 + min(3, len(text) // 3)
    for word in words:
        if word.casefold() == lower:
            return word
        if abs(len(word) - len(text)) < slips and not _other_number(text, word):
            found = distance(text, word, slips - 1)
            if found < slips:
                best, slips = word, found
    if not best:
        begun = [word for word in words if word.startswith(text)]
        best = begun[0] if len(begun) == 1 else ""
    return best


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """``did you mean …?``, or nothing where no known word is near."""
    near = nearest(text, known)
    return f"did you mean {near}?" if near else ""


def distance(one: str, other: str, most: int) -> int:
    """The number of edits between two words; ``most + 1`` if there are more than ``most``."""
    far = most + 1
    before: list[int] = []
    row = [min(at, far) for at in range(len(other) + 1)]
    for line, char in enumerate(one, 1):
        older, before = before, row
        row = [min(line, far)] + [far] * len(other)
        for at in range(max(1, line - most), min(len(other), line + most) + 1):
            slip = char != other[at - 1]
            row[at] = min(before[at - 1] + slip, before[at] + 1, row[at - 1] + 1)
            if slip and line > 1 < at and char == other[at - 2] and one[line - 2] == other[at - 1]:
                row[at] = min(row[at], older[at - 2] + 1)
        if min(row) >= far:
            return far
    return min(row[-1], far)


def _other_number(one: str, other: str) -> bool:
    """Whether two words are alike but for the values of their numbers."""
    return re.sub(_NUMBERS, "0", one) == re.sub(_NUMBERS, "0", other) and [
        int(n) for n in re.findall(_NUMBERS, one)
    ] != [int(n) for n in re.findall(_NUMBERS, other)]
