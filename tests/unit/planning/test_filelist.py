"""The list of a ``--files-from`` job, as editors and scripts of all kinds write it."""

from __future__ import annotations

import io

import pytest

from cachewarmer.errors import UsageError
from cachewarmer.planning.filelist import CHUNK_BYTES, list_chunks


async def paths(raw, *, nul_separated=False):
    chunks = [chunk async for chunk in list_chunks(io.BytesIO(raw), nul_separated=nul_separated)]
    return b"".join(chunks).split(b"\0")[:-1]


@pytest.mark.parametrize(
    "raw",
    [b"a\nb/c\n", b"a\r\nb/c\r\n", b"a\n\nb/c", b"\xef\xbb\xbfa\nb/c\n", b"\xef\xbb\xbfa\r\nb/c\r\n"],
)
async def test_line_ends_and_a_mark_of_utf8_are_no_part_of_a_path(raw):
    assert await paths(raw) == [b"a", b"b/c"]


async def test_a_mark_is_dropped_at_the_beginning_alone():
    """A file's name may begin with those bytes."""
    assert await paths(b"a\n\xef\xbb\xbfb\n") == [b"a", b"\xef\xbb\xbfb"]
    assert await paths(b"x\0\xef\xbb\xbfb\0", nul_separated=True) == [b"x", b"\xef\xbb\xbfb"]


@pytest.mark.parametrize("order", ["utf-16", "utf-16-le", "utf-16-be"])
async def test_a_list_in_utf16_is_told(order):
    """With its mark; every second byte of it would be NUL."""
    marked = "\ufeff" if order != "utf-16" else ""
    with pytest.raises(UsageError, match="UTF-16"):
        await paths(f"{marked}a\nb\n".encode(order))


@pytest.mark.parametrize("raw", ["a\nb\n".encode("utf-16-le"), b"a\0b\0"], ids=["UTF-16", "find -print0"])
async def test_nul_in_a_list_of_lines_is_told(raw):
    """Its paths would be other ones than somebody meant: whole trees, in the worst case."""
    with pytest.raises(UsageError, match=r"NUL.*-0.*UTF-8"):
        await paths(raw)


async def test_a_path_on_the_border_of_two_reads_stays_whole():
    long = [b"%0700d" % number for number in range(3 * CHUNK_BYTES // 700)]
    assert await paths(b"\n".join(long)) == long
