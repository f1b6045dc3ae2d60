"""Patterns in both dialects, and files of filters: what is accepted must match any path in linear time."""

from __future__ import annotations

import contextlib

from cachewarmer.errors import UsageError
from cachewarmer.filters import FileFilter, parse_filter_file

SEEDS = [
    b"*.exr\0a/b/c.exr",
    b"**/" * 14 + b"x\0" + b"d/" * 24 + b"f",
    b"{a,b}{c,d}[^x-z]\\,\0ac",
    b"+ *.exr\n- *\n# x\0a/b.exr",
]


def fuzz(data: bytes) -> None:
    """A pattern, and behind a NUL the path that it is held against."""
    raw, _, path = data.partition(b"\0")
    pattern, name = raw.decode("utf-8", "surrogateescape"), path.decode("utf-8", "surrogateescape")
    for go_rules in (True, False):
        with contextlib.suppress(UsageError):
            wanted = FileFilter([pattern], go_rules=go_rules)
            wanted.wants_name(name)
            wanted.prunes(name)
            wanted.warnings()
    with contextlib.suppress(UsageError):
        FileFilter(rules=parse_filter_file(pattern), go_rules=False).wants_name(name)
