import pytest

from cachewarmer.errors import FileError, FileVanished
from cachewarmer.targets.links import follow, lead, resolve
from tests.memory import MemorySession, Symlink


@pytest.mark.parametrize(
    ("link", "holds", "leads_to"),
    [
        (b"a/l", b"f", b"a/f"),
        (b"a/l", b"./b//f", b"a/b/f"),
        (b"a/l", b"../f", b"f"),
        (b"l", b"../f", None),
        (b"a/l", b"/export/x/f", b"x/f"),
        (b"a/l", b"/export", b""),
        (b"a/l", b"/exports/f", None),
        (b"a/l", b"/export/../f", None),
    ],
)
def test_a_link_leads_to_a_path_of_the_export_or_out_of_it(link, holds, leads_to):
    assert lead(link, holds, b"/export") == leads_to


TREE = {
    b"f": 5,
    b"d": {b"g": 6},
    b"one": Symlink(b"two"),
    b"two": Symlink(b"f"),
    b"me": Symlink(b"me"),
    b"out": Symlink(b"/etc/passwd"),
    b"gone": Symlink(b"nothing"),
    b"dir": Symlink(b"d"),
    b"through": Symlink(b"dir/g"),
}


async def test_chains_and_links_in_the_middle_are_followed():
    session = MemorySession(TREE)
    assert (await follow(session, b"/", b"one"))[0] == b"f"
    path, entry = await follow(session, b"/", b"through")
    assert (path, entry.size) == (b"d/g", 6)
    assert (await resolve(session, b"/", b"dir/g"))[0] == b"d/g"
    assert (await resolve(session, b"/", b"dir"))[0] == b"d"
    assert (await resolve(session, b"/", b"d/g"))[0] == b"d/g"


@pytest.mark.parametrize("name", [b"me", b"gone"])
async def test_a_link_that_leads_nowhere_has_an_end(name):
    with pytest.raises((FileError, FileVanished)):
        await follow(MemorySession(TREE), b"/", name)


async def test_a_link_out_of_the_export_is_not_followed():
    with pytest.raises(FileError, match="out of the export"):
        await follow(MemorySession(TREE), b"/export", b"out")
