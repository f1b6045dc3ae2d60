"""The files of a USD scene as the lines of a list (the extra ``usd``)."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Sequence

from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.planning.listline import unknown
from cachewarmer.planning.usd_layers import LAYERS, PACKAGE

READ_BYTES = 48 * 1024


def check_usd(scene: str) -> None:
    """Raises ``UsageError`` if the package usd-core is missing, or the scene can't be read on this machine."""
    if getattr(sys, "frozen", False) or importlib.util.find_spec("pxr") is None:
        raise UsageError("--usd needs the package usd-core", advice="pip install 'cachewarmer[usd]'")
    if not scene.lower().endswith((*LAYERS, PACKAGE)):
        raise UsageError("not a file of USD", doing="--usd", subject=os.fsencode(scene))
    try:
        with open(scene, "rb"):
            pass
    except OSError as error:
        raise UsageError(
            error.strerror or str(error),
            doing="--usd",
            subject=os.fsencode(scene),
            advice="use its path on this machine: its layers are read here",
        ) from error


async def usd_lines(scene: str, maps: Sequence[str]) -> AsyncIterator[list[bytes]]:
    """Yields the files of a scene, some at a time, as records of ``usd_layers``.

    ``scene`` is its path on this machine, and so are the paths in the records; ``maps`` are rules of ``--map``.

    Raises:
        CacheWarmerError: OpenUSD failed on the scene.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer.planning.usd_layers", scene, *maps),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        rest = b""
        while block := await process.stdout.read(READ_BYTES):
            *records, rest = (rest + block).split(b"\0")
            yield records
        if await process.wait():
            raise CacheWarmerError("OpenUSD gave up on the scene", doing="--usd", subject=os.fsencode(scene))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def stored_record(record: bytes) -> tuple[bytes, bytes]:
    """Splits a record of ``usd_layers`` into a path to be mapped and stored, or a line to be stored as it is.

    The other one of the two is empty.
    """
    if record.startswith(b"+"):
        return record[1:], b""
    reason, _, path = record[1:].partition(b"\t")
    return b"", unknown(path, reason)
