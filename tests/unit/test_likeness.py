"""What was meant by a word that is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.likeness import did_you_mean, distance, nearest

WORDS = st.text(alphabet="ab1é", max_size=8)


@pytest.mark.parametrize(
    ("text", "known", "meant"),
    [
        ("wram", ["scan", "warm", "worker"], "warm"),
        ("SHOT42", ["shot41", "shot42"], "shot42"),
        ("shto42", ["shot41", "shot42"], "shot42"),
        ("--windw", ["--max-window", "--window"], "--window"),
        ("--incl", ["--include", "--exclude"], "--include"),
        ("--max", ["--max-window", "--max-bandwidth"], ""),
        ("nfss", ["auto", "nfs"], "nfs"),
        ("shot44", ["shot42", "shot43"], ""),
        ("shot0042", ["shot42"], "shot42"),
        ("-x", ["-q", "-v"], ""),
        ("", ["a"], ""),
        ("projects", [], ""),
        ("assets", ["renders"], ""),
        ("x" * 300, ["x" * 299], ""),
        ("x" * 200, ["x" * 300], ""),
    ],
)
def test_the_nearest_word_is_meant_and_none_that_is_another(text, known, meant):
    """Slips of the keyboard are; other numbers, short words and what has little in common are not."""
    assert nearest(text, known) == meant
    assert did_you_mean(text, known) == (f"did you mean {meant}?" if meant else "")


@given(WORDS, WORDS, st.integers(0, 4))
def test_the_distance_is_bounded_and_symmetric(one, other, most):
    """What is farther than asked for costs no more than that; the same word is at 0."""
    found = distance(one, other, most)
    assert found == distance(other, one, most) <= most + 1
    assert (found == 0) == (one == other)
    assert found == min(plain(one, other), most + 1)


def plain(one, other):
    """The whole table, without bounds."""
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if not i or not j:
                rows[i][j] = i + j
                continue
            slip = one[i - 1] != other[j - 1]
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + slip)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


def test_a_list_of_any_length_is_compared_up_to_its_bound():
    """It is read no further."""
    seen = []

    def names():
        for number in range(1_000_000):
            seen.append(number)
            yield f"name{number:07}x"

    assert nearest("nothing like them", names()) == ""
    assert len(seen) <= 10_001
