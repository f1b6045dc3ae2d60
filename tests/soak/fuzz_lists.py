"""Lists of files: whatever they hold, each line becomes a path below the target, or is refused."""

from __future__ import annotations

import asyncio
import contextlib
import io

from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.planning.filelist import grouped_lines, list_chunks
from cachewarmer.planning.listed import ListPaths, Named

SEEDS = [b"a\r\nb/./c\n/export/t/x\n..\n", b"\xef\xbb\xbfa\n", b"\xff\xfea\0\n\0", b"a\0b\nc\0"]


def fuzz(data: bytes) -> None:
    """Takes a list apart, both ways of writing it."""
    for nul_separated in (False, True):
        with contextlib.suppress(UsageError):
            asyncio.run(_take_apart(data, nul_separated=nul_separated))


async def _take_apart(data: bytes, *, nul_separated: bool) -> None:
    paths, named = ListPaths("/export", b"t"), Named(frozenset({b".snapshot"}))
    async for lines in grouped_lines(list_chunks(io.BytesIO(data), nul_separated=nul_separated), 8):
        for line in lines:
            with contextlib.suppress(CacheWarmerError):
                path = paths.path(line)
                if path != b"t" and not path.startswith(b"t/"):
                    raise AssertionError(f"{path!r} is not below the target")
                if b".." in path.split(b"/"):
                    raise AssertionError(f"{path!r} climbs")
                named.add(path, directory=bool(len(line) % 2))
