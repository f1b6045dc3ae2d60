import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import UsageError
from cachewarmer.filters import FileFilter, in_name_range, parse_filter_file
from cachewarmer.patterns import compile_name, compile_path

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
    assert bool(compile_name(pattern).fullmatch(name)) is matches


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[]", "[a", "\\", "a\\"]
)
def test_a_malformed_pattern_is_refused_where_go_refuses_it(pattern):
    with pytest.raises(UsageError):
        compile_name(pattern)


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
        compile_path(pattern).fullmatch(name)
    with contextlib.suppress(UsageError):
        compile_name(pattern).fullmatch(name)


def test_many_stars_take_no_exponential_time():
    assert not compile_name("*a" * 40 + "b").fullmatch("a" * 250)


def test_name_ranges_are_inclusive_and_bytewise():
    assert in_name_range(b"b", b"b", b"c")
    assert in_name_range(b"c", b"b", b"c")
    assert not in_name_range(b"ca", b"b", b"c")
    assert not in_name_range(b"B", b"b", b"c")
    assert in_name_range(b"\xff", b"b", b"")


def own(include=(), exclude=(), rules=(), target=""):
    return FileFilter(include, exclude, rules=rules, go_rules=False, target=target)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.exr", "a/b/x.exr", True),
        ("shots", "shots/a/x", True),
        ("shots", "old/shots/x", True),
        ("shots/", "old/shots/x", True),
        ("shots/", "old/shots", False),
        ("shots/**", "old/shots/x", True),
        ("/shots", "shots/x", True),
        ("/shots", "old/shots/x", False),
        ("./shots", "old/shots/x", False),
        ("a/shots", "a/shots/x/y", True),
        ("a/shots", "b/a/shots/x", False),
        ("**/a/shots", "b/a/shots/x", True),
        ("a/**/x", "a/b/c/x", True),
        ("*.{exr,dpx}", "a/x.dpx", True),
        ("{a/b,c}/x", "a/b/x", True),
        ("{a/b,c}/x", "c/x", True),
        ("a\\,b", "a,b", True),
        ("a[,]b", "a,b", True),
        ("{ab}", "{ab}", True),
    ],
)
def test_a_pattern_of_ours_stands_for_a_directory_with_all_that_is_in_it(pattern, path, matches):
    assert own([pattern]).wants_name(path) is matches
    assert own([], [pattern]).wants_name(path) is not matches


@pytest.mark.parametrize(
    ("pattern", "directory", "pruned"),
    [
        (".snapshot", "a/.snapshot", True),
        (".snapshot/", ".snapshot", True),
        (".snapshot/**", "a/.snapshot", True),
        ("/tools", "tools", True),
        ("/tools", "a/tools", False),
        ("a/b", "a/b", True),
        ("a/b", "a", False),
    ],
)
def test_an_excluded_directory_of_ours_is_not_listed(pattern, directory, pruned):
    assert own([], [pattern]).prunes(directory) is pruned


@pytest.mark.parametrize("pattern", ["*.tmp,*.bak", "/", "./", "{a,b}" * 12, "x" * 2000, "[a"])
def test_a_pattern_that_would_surprise_is_refused(pattern):
    """A comma separates nothing, a slash alone is the target itself, braces and lengths have bounds."""
    with pytest.raises(UsageError):
        own([pattern])


def test_the_number_of_patterns_is_bounded():
    with pytest.raises(UsageError, match="1000"):
        own(["*.{a,b,c,d}"] * 300)


def test_the_first_rule_of_a_filter_file_that_matches_decides():
    rules = parse_filter_file("\ufeff# which\r\n\r\n- tmp/\n+ *.exr\n; and nothing else\n- *\n")
    wanted = own(rules=rules)
    assert rules == ("- tmp/", "+ *.exr", "- *")
    assert wanted.wants_name("a/b.exr")
    assert not wanted.wants_name("a/b.txt")
    assert not wanted.wants_name("a/tmp/b.exr")
    assert wanted.prunes("a/tmp")
    assert not wanted.prunes("a")


@pytest.mark.parametrize("line", ["*.tmp", "+", "- ", "+*.exr"])
def test_a_line_of_a_filter_file_needs_its_sign(line):
    with pytest.raises(UsageError, match="line 2"):
        parse_filter_file(f"# comment\n{line}\n")


@pytest.mark.parametrize(
    ("pattern", "seen", "hint"),
    [
        ("Tools", "tools/x", "'tools' would have"),
        ("ReadMe", "README", "'README' would have"),
        ("readMe", "ReadMe", "differs from it in upper and lower case"),
        ("/data/p/x", "x/f", "'/x' would have"),
        ("shots/a", "p/shots/a/f", "'**/shots/a' would have"),
        ("exr", "a.exr", "'*.exr' would have"),
        (".exr", "a.exr", "'*.exr' would have"),
        ("f/", "f", "'f' would have"),
        ("nothing", "f", "matched nothing"),
    ],
)
def test_a_pattern_that_matched_nothing_is_told_with_the_one_that_would_have(pattern, seen, hint):
    wanted = own([pattern], target="/data/p")
    show(wanted, seen)
    (warning,) = wanted.warnings()
    assert warning.startswith(f"--include {pattern!r} matched nothing")
    assert hint in warning


def show(wanted, path):
    parts = path.split("/")
    for depth in range(1, len(parts)):
        wanted.prunes("/".join(parts[:depth]))
    wanted.wants_name(path)


def test_by_gos_rules_a_directory_is_hinted_at_by_a_pattern_that_go_rules_take():
    wanted = FileFilter([], [".snapshot"])
    show(wanted, "a/.snapshot/x")
    assert wanted.warnings() == ["ExclusionList '.snapshot' matched nothing: '**/.snapshot/**' would have"]
    assert FileFilter([], ["**/.snapshot/**"]).prunes("a/.snapshot")


def test_what_has_matched_is_not_warned_of():
    """Also where an earlier pattern decided, and where one of several in braces matched."""
    wanted = own(["*.{exr,dpx}"], ["*.tmp", "a.tmp"])
    for path in ("a.tmp", "b.exr"):
        wanted.wants_name(path)
    assert wanted.warnings() == []


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/" * 14 + "x", "d/" * 24 + "f"),
        ("**/a/" * 8 + "b", "a/" * 60 + "c"),
        ("**/*/" * 200 + "x", "d/" * 400 + "f"),
        ("*a" * 500 + "b", "a" * 8000),
    ],
)
def test_no_pattern_is_tried_in_more_than_one_way(pattern, path):
    """Would not end within the life of the machine if each way were tried."""
    assert not compile_path(pattern).fullmatch(path)
    assert not FileFilter([pattern]).wants_name(path)
    assert not own([pattern]).wants_name(path)


def naive(parts, names):
    if not parts:
        return not names
    if parts[0] == "**":
        return any(naive(parts[1:], names[cut:]) for cut in range(len(names) + 1))
    return bool(names) and parts[0] in ("*", names[0]) and naive(parts[1:], names[1:])


@given(
    st.lists(st.sampled_from(["**", "*", "a", "b"]), min_size=2, max_size=6),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=6),
)
def test_paths_match_as_the_definition_says(parts, names):
    """Against a matcher that tries everything; a last ``**`` stands for one component or more."""
    ending = [*parts, "*"] if parts[-1] == "**" else parts
    assert bool(compile_path("/".join(parts)).fullmatch("/".join(names))) is naive(ending, names)
