"""The list of a ``--files-from`` job: it is read once, stored with the job in chunks, and taken apart by the scan.

In the stored form each line ends with NUL, whatever the list itself uses, and no line is split between two chunks. For
the form of a line see ``listline``.
"""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import BinaryIO

from cachewarmer.blocking import in_daemon_thread
from cachewarmer.errors import UsageError
from cachewarmer.paths import to_bytes
from cachewarmer.planning.listline import MOST_PATH_BYTES, ListForm
from cachewarmer.planning.pathmap import UNMAPPED, PathMap
from cachewarmer.planning.usd import stored_record, usd_lines

CHUNK_BYTES = 48 * 1024
"""A chunk ends with the line that reaches this length, which keeps it below the 64 KiB of an Azure Table property."""
MOST_LINE_BYTES = MOST_PATH_BYTES + 64
Entry = str | bytes | tuple[str | bytes, int, int]
"""What a program may put into a list: a path, or a range of a file as path, start and length in bytes."""


async def list_chunks(
    source: BinaryIO, *, nul_separated: bool, path_map: PathMap | None = None
) -> AsyncIterator[bytes]:
    """Reads a list and yields the chunks of its stored form.

    A UTF-8 byte order mark at its beginning is dropped, and so is a carriage return at the end of a line.

    Args:
        source: the list, read in a thread of its own.
        nul_separated: the list holds paths separated by NUL; else lines (see ``listline``).
        path_map: translates each path; None: paths are stored unchanged.

    Raises:
        UsageError: a path is longer than any file server accepts, so this is not a list of paths; the list is in
            UTF-16; a list of lines holds NUL; or a line is invalid.
    """
    form = ListForm(plain=nul_separated, path_map=path_map or UNMAPPED)
    separator = b"\0" if nul_separated else b"\n"
    rest = b""
    async for block in _blocks(source):
        if not nul_separated and b"\0" in block:
            raise UsageError(
                "the list of files holds NUL characters",
                advice="with -0 they separate its paths; a list in UTF-16 must be saved as UTF-8",
            )
        lines = (rest + block).split(separator)
        rest = lines.pop() if block else b""
        if len(rest) > MOST_LINE_BYTES or any(len(line) > MOST_LINE_BYTES for line in lines):
            raise UsageError(f"the list of files holds a path of more than {MOST_PATH_BYTES} bytes")
        for chunk in _packed(one for line in lines for one in form.stored(line)):
            yield chunk


def stored_lines(lines: Iterable[bytes], path_map: PathMap | None = None) -> Iterator[bytes]:
    """Yields the chunks of the stored form of lines that are already in memory.

    Raises:
        UsageError: a line is invalid.
    """
    form = ListForm(path_map=path_map or UNMAPPED)
    return _packed(one for line in lines for one in form.stored(line))


async def scene_chunks(scene: str, maps: Sequence[str]) -> AsyncIterator[bytes]:
    """Yields the chunks of the stored form of the files of a USD scene.

    ``scene`` is its path on this machine; ``maps`` are rules as ``PathMap.of`` takes them.

    Raises:
        CacheWarmerError: OpenUSD failed on the scene.
    """
    form = ListForm(plain=True, path_map=PathMap.of(maps))
    async for records in usd_lines(scene, maps):
        found = (stored_record(record) for record in records)
        for chunk in _packed(
            line for path, known in found for line in (*form.stored(path), *([known] if known else []))
        ):
            yield chunk


def _packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for line in lines:
        chunk += line + b"\0"
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


async def path_chunks(
    paths: Iterable[Entry] | AsyncIterable[Entry], path_map: PathMap | None = None
) -> AsyncIterator[bytes]:
    """Yields the chunks of the stored form of what a program names; ``paths`` is consumed as chunks are needed.

    Raises:
        UsageError: a path is longer than any file server accepts, or holds NUL; or a range is invalid.
    """
    form = ListForm(plain=True, path_map=path_map or UNMAPPED)
    chunk = bytearray()
    async for entry in _each(paths):
        path, *part = (entry,) if isinstance(entry, str | bytes) else entry
        raw = path if isinstance(path, bytes) else to_bytes(path)
        if b"\0" in raw:
            raise UsageError("a path of the list holds a NUL character", subject=raw)
        if len(raw) > MOST_PATH_BYTES:
            raise UsageError(f"the list of files holds a path of more than {MOST_PATH_BYTES} bytes")
        lines = (form.ranged(raw, *part),) if part else form.stored(raw)
        chunk += b"".join(line + b"\0" for line in lines)
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


async def _each(paths: Iterable[Entry] | AsyncIterable[Entry]) -> AsyncIterator[Entry]:
    if isinstance(paths, AsyncIterable):
        async for path in paths:
            yield path
    else:
        for path in paths:
            yield path


async def _blocks(source: BinaryIO) -> AsyncIterator[bytes]:
    """The blocks of the source, without a byte order mark at its beginning; the last block is empty."""
    block = await in_daemon_thread(lambda: source.read(CHUNK_BYTES))
    if block.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise UsageError("the list of files is in UTF-16: save it as UTF-8")
    yield block.removeprefix(BOM_UTF8)
    while block:
        block = await in_daemon_thread(lambda: source.read(CHUNK_BYTES))
        yield block


async def grouped_lines(chunks: AsyncIterable[bytes], most: int) -> AsyncIterator[list[bytes]]:
    """Yields the lines of a stored list in groups of ``most``; the last group may be shorter."""
    group: list[bytes] = []
    async for chunk in chunks:
        for line in chunk.split(b"\0"):
            if line:
                group.append(line)
            if len(group) == most:
                yield group
                group = []
    if group:
        yield group
