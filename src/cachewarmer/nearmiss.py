"""Patterns that have matched nothing, and the ones that would have: what a warning at the end of a scan is made of. Pure.

While a pattern has not matched, the first names of a scan are also held against what people mean when they write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Protocol

from cachewarmer.errors import UsageError
from cachewarmer.paths import below, holds, printable
from cachewarmer.values import dataclass

MAX_LOOKS = 100_000
"""Comparisons that a scan spends on finding what was meant."""


class Rule(Protocol):
    """What is asked of a rule here."""

    @property
    def text(self) -> str:
        """The pattern as it was given."""

    @property
    def option(self) -> str:
        """Which option gave it."""

    def matches(self, path: str, *, directory: bool) -> bool:
        """Whether a file or directory at a path below the target matches."""


Make = Callable[[str], Iterable[Rule]]
"""Compiles a pattern as the filter does. Raises ``UsageError``."""


@dataclass(eq=False, slots=True)
class _Missing:
    """A pattern that has matched nothing so far."""

    text: str
    option: str
    others: list[tuple[str, list[Rule]]] | None = None
    """What may have been meant, compiled when it is first needed."""
    meant: str = ""
    lower: list[Rule] = field(default_factory=list)


class NearMisses:
    """Keeps account of which rules have matched; ``target`` is the path of the target."""

    def __init__(self, rules: Sequence[Rule], make: Make, target: str = "") -> None:
        self._texts = [(rule.option, rule.text) for rule in rules]
        self._make = make
        self._target = target
        self._missing = {key: _Missing(key[1], key[0]) for key in self._texts}
        self._looks = MAX_LOOKS
        self.unmatched = set(range(len(rules)))
        """Rules that have not matched; of a pattern with braces, all while none of them has."""

    @property
    def looking(self) -> bool:
        """Whether any rule has not matched yet."""
        return bool(self.unmatched)

    def matched(self, number: int) -> None:
        """A rule has matched something."""
        key = self._texts[number]
        self._missing.pop(key, None)
        self.unmatched -= {one for one, other in enumerate(self._texts) if other == key}

    def look(self, path: str, *, directory: bool) -> None:
        """Holds a name of the tree against what the patterns without a match may have meant."""
        if self._looks <= 0:
            return
        for one in self._missing.values():
            if not one.meant:
                self._compare(one, path, directory=directory)

    def _compare(self, one: _Missing, path: str, *, directory: bool) -> None:
        if one.others is None:
            one.others = [(text, rules) for text in self._variants(one.text) if (rules := self._compiled(text))]
            one.lower = self._compiled(one.text.lower())
        self._looks -= len(one.others) + 1
        for text, rules in one.others:
            if _any(rules, path, directory=directory):
                one.meant = f"{text!r} would have"
                return
        if _any(one.lower, path.lower(), directory=directory):
            one.meant = f"{printable(path)!r} differs from it in upper and lower case"

    def _compiled(self, text: str) -> list[Rule]:
        try:
            return list(self._make(text))
        except UsageError:
            return []

    def _variants(self, text: str) -> Iterator[str]:
        """What else may have been meant, the likeliest first."""
        for other in (text.lower(), text.upper()):
            if other != text:
                yield other
        inner = text.strip("/")
        if text.startswith("/") and self._target and holds(self._target, text):
            yield below(self._target, text)
        if text.endswith("/"):
            yield text.rstrip("/")
        if "/" in text and not text.startswith("**/"):
            yield f"**/{inner}"
        if "/" not in inner:
            yield f"**/{inner}/**"
            yield f"*{inner}" if inner.startswith(".") else f"*.{inner}"

    def warnings(self) -> list[str]:
        """A line for each pattern that has matched nothing."""
        lines = []
        for one in self._missing.values():
            line = f"{one.option} {printable(one.text)!r} matched nothing"
            lines.append(f"{line}: {one.meant}" if one.meant else line)
        return lines


def _any(rules: Sequence[Rule], path: str, *, directory: bool) -> bool:
    return any(rule.matches(path, directory=directory) for rule in rules)
