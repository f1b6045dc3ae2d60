"""A list of files that comes once, from standard input or a broker, and is needed several times."""

import pytest

from cachewarmer.choice.copied import CopiedList
from cachewarmer.errors import UsageError

CHUNKS = [b"a", b"bb" * 1000, b"c"]


async def chunks():
    for one in CHUNKS:
        yield one


async def test_it_comes_whole_each_time_also_after_a_reader_that_stopped_early():
    files = CopiedList(chunks(), copied=True)
    async for one in files.first():
        assert one == CHUNKS[0]
        break
    for _ in range(2):
        assert [one async for one in files.again()] == CHUNKS
    files.close()


async def test_without_a_copy_it_comes_once():
    files = CopiedList(chunks(), copied=False)
    assert [one async for one in files.first()] == CHUNKS
    with pytest.raises(UsageError):
        await anext(files.again())
    assert CopiedList(None, copied=True).first() is None
