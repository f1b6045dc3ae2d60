"""Decides which files a job selects, by names, sizes and times. Pure.

A filter is a list of rules, tried in order; the first one that matches a file, or a directory that the file is in,
decides. ``--exclude`` gives the first rules, then come those of ``--filter-from``, then those of ``--include``; where
there is any ``--include``, what no rule matches is left out.

There are two dialects. In ours, a pattern matches files and directories, and a directory stands for all that is in it:
``name`` at any depth, ``name/`` only a directory, ``/name`` directly below the target, ``a/b`` the path below the
target, ``**`` any number of directories, ``{a,b}`` one or the other. In that of the first CacheWarmer (``go_rules``) a
pattern matches files alone, by their base name; one that holds a ``/`` matches the path below the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Self

from cachewarmer.errors import UsageError
from cachewarmer.model import Wanted
from cachewarmer.nearmiss import NearMisses
from cachewarmer.paths import printable
from cachewarmer.values import dataclass

if TYPE_CHECKING:  # loaded where there is a pattern
    from cachewarmer.patterns import PathPattern

__all__ = [
    "SNAPSHOT_NAMES",
    "DirectoryFilter",
    "FileFilter",
    "Rule",
    "compile_pattern",
    "in_name_range",
    "parse_filter_file",
]

MAX_PATTERNS = 1000
"""Maximum number of patterns of a job, after braces are expanded."""
MAX_ALL_CHARS = 64 * 1024
"""Maximum length of all patterns of a job together."""
DIRECTORIES_KEPT = 4096
"""Directories whose filters are remembered."""
SNAPSHOT_NAMES = frozenset({".snapshot", ".snapshots", "~snapshot", "#snapshot", ".zfs", ".ckpt", ".snap", ".snaps"})
"""Directories in which file servers show older states of the tree beside them."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One pattern, compiled, and what follows where it matches."""

    text: str
    """The pattern as it was given."""
    option: str
    """Which option gave it."""
    keeps: bool
    path: PathPattern
    files: bool
    """Whether it matches files,"""
    directories: bool
    """and directories, each with all that is in it."""

    def matches(self, path: str, *, directory: bool) -> bool:
        """Whether a file or directory at a path below the target matches by itself."""
        return (self.directories if directory else self.files) and self.path.fullmatch(path)


def compile_pattern(pattern: str) -> PathPattern:
    """What matches paths below the target; use its ``fullmatch``. What compiles it is loaded where there is a pattern.

    Raises:
        UsageError: the pattern is too long or malformed.
    """
    from cachewarmer.patterns import compile_path

    return compile_path(pattern)


def _rules(text: str, *, option: str, keeps: bool, go_rules: bool) -> Iterator[Rule]:
    if not go_rules:
        from cachewarmer.patterns import expand_braces

        for one in expand_braces(text):
            yield _own_rule(text, option, one, keeps=keeps)
        return
    anywhere = "" if "/" in text or not text else "**/"
    yield Rule(text, option, keeps, compile_pattern(anywhere + text), files=True, directories=False)
    if text.endswith("/**") and not keeps:
        yield Rule(text, option, keeps, compile_pattern(text[:-3]), files=False, directories=True)


def _own_rule(text: str, option: str, pattern: str, *, keeps: bool) -> Rule:
    """A rule of our own dialect, of a pattern without braces."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts:
        raise UsageError(f"{option} {text!r} stands for the target itself", advice="leave it out")
    tree = len(parts) > 1 and parts[-1] == "**"
    if tree:
        del parts[-1]
    if len(parts) == 1 and not pattern.startswith(("/", "./")):
        parts.insert(0, "**")
    files = not (tree or pattern.endswith("/"))
    return Rule(text, option, keeps, compile_pattern("/".join(parts)), files=files, directories=True)


class DirectoryFilter:
    """What the filter says about the names directly in one directory."""

    __slots__ = ("_below", "_default", "_files", "_owner", "_path", "_rank", "_states")

    def __init__(self, owner: FileFilter, path: str, states: tuple[int, ...], rank: int, *, default: bool) -> None:
        self._owner = owner
        self._path = path
        self._states = states
        self._rank = rank
        """How many rules come before the one that decides for the whole directory."""
        self._default = default
        """What holds for a name that none of those matches."""
        self._files: list[tuple[Callable[[str], object], bool]] = []
        self._below: list[tuple[Callable[[str], object], int]] = []
        for number, (rule, state) in enumerate(zip(owner.rules, states, strict=True)):
            last = rule.path.ends(state)
            if last is None:
                continue
            if rule.directories:
                self._below.append((last.fullmatch, number))
            if rule.files and number < rank:
                self._files.append((last.fullmatch, rule.keeps))

    def wants(self, name: str) -> bool:
        """Whether the file is wanted, as far as its name goes."""
        if self._owner.misses.looking:
            self._note(name, directory=False)
        for matches, keeps in self._files:
            if matches(name):
                return keeps
        return self._default

    def prunes(self, name: str) -> bool:
        """Whether the directory need not be listed: no file that may be in it is wanted."""
        if self._owner.misses.looking:
            self._note(name, directory=True)
        number = self._decider(name)
        return number is not None and not self._owner.rules[number].keeps and number < self._owner.first_keeper

    def _decider(self, name: str) -> int | None:
        """The first rule that matches a directory here, unless the directory around it was decided on before."""
        for matches, number in self._below:
            if number >= self._rank:
                break
            if matches(name):
                return number
        return None

    def child(self, name: str) -> DirectoryFilter:
        """The filter of a directory in this one; itself where nothing changes."""
        owner = self._owner
        states = tuple(rule.path.step(state, name) for rule, state in zip(owner.rules, self._states, strict=True))
        number = self._decider(name)
        rank, default = (self._rank, self._default) if number is None else (number, owner.rules[number].keeps)
        path = f"{self._path}{name}/"
        if states == self._states and rank == self._rank and not owner.misses.looking:
            return self
        return DirectoryFilter(owner, path, states, rank, default=default)

    def _note(self, name: str, *, directory: bool) -> None:
        """Keeps account of which rules have matched something."""
        misses = self._owner.misses
        for number in list(misses.unmatched):
            rule = self._owner.rules[number]
            last = rule.path.ends(self._states[number])
            if last is not None and (rule.directories if directory else rule.files) and last.fullmatch(name):
                misses.matched(number)
        misses.look(self._path + name, directory=directory)


class FileFilter:
    """The filters of one job, compiled.

    ``rules`` are those of ``--filter-from`` (see ``parse_filter_file``). Limits work with or without patterns.
    ``target`` is the path of the target, for hints alone.

    Raises:
        UsageError: a pattern is malformed, or there are too many.
    """

    def __init__(
        self,
        inclusion: Iterable[str] = (),
        exclusion: Iterable[str] = (),
        *,
        rules: Iterable[str] = (),
        max_file_bytes: int = 0,
        min_file_bytes: int = 0,
        newer_than: float = 0.0,
        go_rules: bool = True,
        target: str = "",
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self.min_file_bytes = min_file_bytes
        self.newer_than = newer_than
        exclude, include = ("ExclusionList", "InclusionList") if go_rules else ("--exclude", "--include")
        given = [
            *((text, exclude, False) for text in exclusion),
            *((one[2:].strip(), "--filter-from", one.startswith("+")) for one in rules),
            *((text, include, True) for text in inclusion),
        ]
        if sum(len(text) for text, *_ in given) > MAX_ALL_CHARS:
            raise UsageError(f"the patterns have more than {MAX_ALL_CHARS} characters in all")
        self.rules: list[Rule] = []
        for text, option, keeps in given:
            self.rules.extend(_rules(text, option=option, keeps=keeps, go_rules=go_rules))
            if len(self.rules) > MAX_PATTERNS:
                raise UsageError(f"more than {MAX_PATTERNS} patterns")
        self.first_keeper = next((number for number, rule in enumerate(self.rules) if rule.keeps), len(self.rules))
        """The first rule that keeps anything; what a rule before it leaves out, no other can bring back."""
        self.uses_names = bool(self.rules)
        """Whether any pattern is there: if not, callers need not decode names."""
        self.misses = NearMisses(self.rules, partial(_rules, option="", keeps=False, go_rules=go_rules), target)
        includes = any(rule.option == include for rule in self.rules)
        starts = tuple(rule.path.start for rule in self.rules)
        self._top = DirectoryFilter(self, "", starts, len(self.rules), default=not includes)
        self._known: dict[str, DirectoryFilter] = {"": self._top}
        self.keeps_snapshots = any(
            rule.keeps and not SNAPSHOT_NAMES.isdisjoint(rule.text.split("/")) for rule in self.rules
        )
        """Whether a pattern asks for snapshots by name."""

    @classmethod
    def of(cls, wanted: Wanted, target: str = "") -> Self:
        """The filter of what a job or an item wants."""
        return cls(
            wanted.include,
            wanted.exclude,
            rules=wanted.rules,
            max_file_bytes=wanted.max_file_bytes,
            min_file_bytes=wanted.min_file_bytes,
            newer_than=wanted.newer_than,
            go_rules=wanted.go_rules,
            target=target,
        )

    def wants_size(self, size: int, mtime: float) -> bool:
        """Whether a file of ``size`` bytes, modified at ``mtime`` (Unix seconds), is within the limits."""
        return not (
            (self.max_file_bytes and size > self.max_file_bytes)
            or size < self.min_file_bytes
            or (self.newer_than and mtime < self.newer_than)
        )

    def directory(self, path: str) -> DirectoryFilter:
        """The filter for the names directly in a directory; ``path`` is relative to the target, ``""`` the target."""
        known = self._known.get(path)
        if known is not None:
            return known
        made = self._top
        parent, _, name = path.rpartition("/")
        near = self._known.get(parent)
        if near is not None:
            made = near.child(name)
        else:
            for part in path.split("/"):
                made = made.child(part)
        if len(self._known) >= DIRECTORIES_KEPT:
            self._known = {"": self._top}
        self._known[path] = made
        return made

    def wants_name(self, path: str) -> bool:
        """Whether the patterns let a file through; ``path`` is relative to the target."""
        directory, _, name = path.rpartition("/")
        return self.directory(directory).wants(name)

    def prunes(self, path: str) -> bool:
        """Whether everything below the directory is left out, so that it need not be listed."""
        directory, _, name = path.rpartition("/")
        return self.directory(directory).prunes(name)

    @property
    def shown(self) -> list[str]:
        """The patterns as people know them: each with its option."""
        return list(dict.fromkeys(f"{rule.option} {printable(rule.text)!r}" for rule in self.rules))

    def warnings(self) -> list[str]:
        """A line for each pattern that has matched nothing, with the one that would have, if that is known."""
        return self.misses.warnings()


def parse_filter_file(text: str, name: str = "--filter-from") -> tuple[str, ...]:
    """The rules of a ``--filter-from`` file, in order, for ``FileFilter``: ``+ PATTERN`` keeps what matches, ``- PATTERN``
    leaves it out; empty lines, and those that begin with ``#`` or ``;``, are comments.

    Raises:
        UsageError: a line is neither; says which.
    """
    rules = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        rule = line.strip()
        if not rule or rule[0] in "#;":
            continue
        if rule[0] not in "+-" or rule[1:2] not in (" ", "\t") or not rule[2:].strip():
            raise UsageError(f"{name}, line {number}: {rule[:60]!r} begins neither with '+ ' nor with '- '")
        rules.append(f"{rule[0]} {rule[2:].strip()}")
    return tuple(rules)


def in_name_range(name: bytes, first: bytes, last: bytes) -> bool:
    """``StartFileFilter``..``EndFileFilter``: inclusive, bytewise; an empty bound does not bound."""
    return (not first or name >= first) and (not last or name <= last)
