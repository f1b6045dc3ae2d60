"""Asking as other users: who they are, and what is asked once."""

from collections import Counter

import pytest

from cachewarmer.errors import FileError, InvalidValue, UsageError
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.primer import Primer
from cachewarmer.targets.base import DirectoryEntry, FileKind, Identity


class Answering:
    """Knows what it was asked."""

    def __init__(self, answer=0.1):
        self.asked = Counter()
        self.links = Counter()
        self.answer = answer

    async def ask(self, question, path, handle=b"", identity=None):
        self.asked[path, identity.uid] += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def read_link(self, path, handle=b""):
        self.links[path] += 1


ENTRIES = [
    DirectoryEntry(b"f", FileKind.REGULAR, 1, 0.0, b"h"),
    DirectoryEntry(b"d", FileKind.DIRECTORY, 0, 0.0, b"h"),
    DirectoryEntry(b"l", FileKind.LINK, 0, 0.0, b"h"),
]


@pytest.mark.parametrize(
    ("text", "identity"),
    [("0", Identity(0, 0)), ("1:2", Identity(1, 2)), ("1:2,3,4", Identity(1, 2, (3, 4)))],
)
def test_a_user_is_read(text, identity):
    assert Identity.parse(text) == identity


@pytest.mark.parametrize("text", ["", "root", "1:", "1:2,", "-1", "4294967296", "1:" + ",".join("2" * 18), "1:2:3"])
def test_what_is_no_user_is_refused(text):
    with pytest.raises(InvalidValue):
        Identity.parse(text)
    with pytest.raises(UsageError):
        Primer([text], ScanCounter())


async def test_each_user_is_asked_for_once_at_each_name_and_links_are_read():
    session, counter = Answering(), ScanCounter()
    await Primer(["1", "2:3", "1"], counter).page(session, b"top", ENTRIES)
    assert session.asked == {(b"top/" + one.name, uid): 1 for one in ENTRIES for uid in (1, 2)}
    assert session.links == {b"top/l": 1}


async def test_directories_on_the_way_are_asked_about_once():
    session = Answering()
    primer = Primer(["1"], ScanCounter())
    await primer.above(session, b"a/b/f")
    await primer.above(session, b"a/b/g")
    assert session.asked == {(path, 1): 1 for path in (b"", b"a", b"a/b", b"a/b/f", b"a/b/g")}


async def test_what_is_refused_is_counted_and_said_at_the_end():
    session, counter = Answering(FileError("denied")), ScanCounter()
    primer = Primer(["1"], counter)
    await primer.page(session, b"", ENTRIES)
    primer.conclude()
    assert any("3 requests" in one for one in counter.warnings)


async def test_a_target_that_can_not_be_asked_is_said():
    counter = ScanCounter()
    await Primer(["1"], counter).page(Answering(None), b"", ENTRIES[:1])
    assert counter.warnings
