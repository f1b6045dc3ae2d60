from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.planning.aside import Aside, LinkedFile


def name(path, file_id=7, links=2, size=10):
    return LinkedFile(file_id, size, path, links, 0, b"h")


def taken(files, memory_bytes=1 << 20):
    aside = Aside(memory_bytes)
    for one in files:
        aside.add(one)
    parts = list(aside.take())
    return [one.path for files, _ in parts for one in files], sum(left_out for _, left_out in parts)


def test_of_the_names_of_a_file_the_smallest_is_read():
    assert taken([name(b"b"), name(b"a")]) == ([b"a"], 1)
    assert taken([name(b"b")]) == ([b"b"], 0)


def test_files_of_one_id_and_of_different_size_are_different_files():
    assert (
        taken([name(b"b"), name(b"a", size=11)]) == ([b"b", b"a"], 0)
        or taken([name(b"b"), name(b"a", size=11)])[1] == 0
    )


def test_a_server_that_gives_more_names_one_id_than_the_file_has_is_not_believed():
    """Else a server that knows no file ids would have one file read of all."""
    paths, left_out = taken([name(b"%d" % number) for number in range(5)])
    assert (sorted(paths), left_out) == ([b"%d" % number for number in range(5)], 0)


def test_a_file_that_two_links_lead_to_is_read_once():
    assert taken([name(b"x", 0, 1), name(b"x", 0, 1)]) == ([b"x"], 1)
    assert taken([name(b"x", 5, 1), name(b"x", 5, 1)]) == ([b"x"], 1)


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.binary(min_size=1, max_size=3)), max_size=60, unique_by=lambda one: one[1]
    ),
    st.randoms(),
)
def test_neither_the_order_of_answers_nor_the_memory_changes_what_is_read(found, random):
    files = [name(path, file_id, links=99) for file_id, path in found]
    first = taken(files)
    random.shuffle(files)
    assert taken(files, memory_bytes=500) == first
    assert len(first[0]) + first[1] == len(found)
