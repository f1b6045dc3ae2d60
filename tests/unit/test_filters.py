import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import UsageError
from cachewarmer.filters import FileFilter, compile_pattern, in_name_range

GO_MATCH = [  # what Go's filepath.Match answers on Unix
    ("abc", "abc", True),
    ("*", "abc", True),
    ("*c", "abc", True),
    ("a*", "a", True),
    ("a*", "abc", True),
    ("a*b*c*d*e*", "axbxcxdxe", True),
    ("a*b*c*d*e*", "axbxcxdxexxx", True),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^c]", "abc", False),
    ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("a[^a][^a][^a]b", "a☺b", False),
    ("[a-ζ]*", "α", True),
    ("*[a-ζ]", "A", False),
    ("[\\]a]", "]", True),
    ("[\\-]", "-", True),
    ("[x\\-]", "x", True),
    ("[x\\-]", "-", True),
    ("[x\\-]", "z", False),
    ("[\\-x]", "x", True),
    ("[\\-x]", "-", True),
    ("[\\-x]", "a", False),
    ("*x", "xxx", True),
    ("[!a]", "!", True),
    ("[!a]", "b", False),
    ("[z-a]", "m", False),
    ("a**b", "axyb", True),
    ("", "", True),
    ("", "a", False),
    ("*.exr", ".exr", True),
    ("*", "", True),
    ("[[]", "[", True),
    ("*.ex?", "shot.exr\n", False),
    ("a?", "a\n", True),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), GO_MATCH)
def test_names_match_as_in_go(pattern, name, matches):
    assert bool(compile_pattern(pattern).fullmatch(name)) is matches


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[]", "[a", "\\", "a\\"]
)
def test_a_malformed_pattern_is_refused_where_go_refuses_it(pattern):
    with pytest.raises(UsageError):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("a/*.exr", "a/x.exr", True),
        ("a/*.exr", "b/a/x.exr", False),
        ("/a/*.exr", "a/x.exr", True),
        ("**/x", "x", True),
        ("**/x", "a/b/x", True),
        ("a/**/x", "a/x", True),
        ("a/**/x", "a/b/c/x", True),
        ("a/**/x", "ab/x", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/*", "a/b/c", False),
        ("a/[^x]", "a/y", True),
    ],
)
def test_a_pattern_with_a_slash_matches_the_path_below_the_target(pattern, path, matches):
    assert FileFilter([pattern]).wants_name(path) is matches


def test_exclusion_wins_and_an_empty_inclusion_list_includes_all():
    assert FileFilter([], ["*.tmp"]).wants_name("a/b.exr")
    assert not FileFilter(["*"], ["*.tmp"]).wants_name("a/b.tmp")
    assert not FileFilter(["*.exr"]).wants_name("a/b.tmp")


def test_limits_work_alone():
    """The first CacheWarmer matched nothing when only MaxFileSizeBytes was given."""
    only_max = FileFilter(max_file_bytes=10)
    assert only_max.wants_size(10, 0)
    assert not only_max.wants_size(11, 0)
    assert only_max.wants_name("anything")
    assert not FileFilter(min_file_bytes=5).wants_size(4, 0)
    assert not FileFilter(newer_than=100.0).wants_size(1, 99.9)
    assert FileFilter(newer_than=100.0).wants_size(1, 100.0)


def test_a_tree_that_is_wholly_excluded_need_not_be_listed():
    pruning = FileFilter([], ["tmp/**", "**/.snapshot/**", "cache-*/old/**"])
    assert pruning.prunes("tmp")
    assert pruning.prunes("a/b/.snapshot")
    assert pruning.prunes(".snapshot")
    assert pruning.prunes("cache-1/old")
    assert not pruning.prunes("a/tmp")
    assert not pruning.prunes("a")
    assert not FileFilter([], ["*.tmp"]).prunes("a.tmp")


@given(st.text(alphabet="ab*?[]^-\\/", max_size=12), st.text(alphabet="ab/-^", max_size=12))
def test_any_pattern_either_compiles_or_is_a_usage_error(pattern, name):
    with contextlib.suppress(UsageError):
        compile_pattern(pattern).fullmatch(name)


def test_many_stars_take_no_exponential_time():
    assert not compile_pattern("*a" * 40 + "b").fullmatch("a" * 250)


def test_name_ranges_are_inclusive_and_bytewise():
    assert in_name_range(b"b", b"b", b"c")
    assert in_name_range(b"c", b"b", b"c")
    assert not in_name_range(b"ca", b"b", b"c")
    assert not in_name_range(b"B", b"b", b"c")
    assert in_name_range(b"\xff", b"b", b"")
