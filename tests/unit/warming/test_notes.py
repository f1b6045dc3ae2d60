"""The lines of a ledger that are built without a record are those of the records."""

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import CacheWarmerError, FileVanished
from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.model.jobs import TIMES
from cachewarmer.model.outcomes import FileOutcome
from cachewarmer.paths import to_text
from cachewarmer.warming.notes import Notes, lines

NAMES = st.one_of(
    st.text("abc/.", min_size=1, max_size=8),
    st.binary(min_size=1, max_size=8).filter(lambda raw: 0 not in raw).map(to_text),
)
FILE = st.tuples(
    NAMES,
    st.integers(0, 1 << 40),
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
    st.integers(0, 1 << 40),
    st.sampled_from(["c1", "c2", 'o"dd', ""]),
    st.floats(0, 1e6),
    st.sampled_from([None, None, None, "vanished", "failed"]),
)


@given(files=st.lists(FILE, max_size=8), path=st.sampled_from(["/d", "/", '/q"']), changed=st.booleans())
def test_each_line_is_that_of_its_record(files, path, changed):
    """Whatever the names are, and whether all was read."""
    item = WorkItem(
        access=Access(addresses=("c1",), export="/data"),
        job_id="j1",
        path=path,
        ledger=True,
        files=tuple(FileEntry(name, size) for name, size, *_ in files),
        times=b"".join(TIMES.pack(mtime, ctime) for _, _, mtime, ctime, *_ in files),
    )
    notes = Notes(len(files))
    problems: dict[int, CacheWarmerError] = {}
    sizes = {0: 77} if changed else {}
    expected = []
    for index, (name, size, mtime, ctime, count, address, seconds, problem) in enumerate(files):
        notes.bytes[index], notes.addresses[index], notes.seconds[index] = count, address, seconds
        if problem:
            problems[index] = FileVanished("gone") if problem == "vanished" else CacheWarmerError("no luck")
        error = "no luck" if problem == "failed" else ""
        whole = f"/data{path.rstrip('/')}/{name}"
        now = sizes.get(index, size)
        expected.append(FileOutcome(whole, now, mtime, ctime, problem or "read", count, error, address, seconds).line())
    assert list(lines(item, notes, sizes, problems)) == expected
