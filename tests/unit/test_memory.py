"""How much memory a process is allowed."""

import subprocess
import sys

import pytest

from cachewarmer import memory
from cachewarmer.memory import memory_left, most_memory

MOST = 4 << 30


def test_a_limit_and_what_is_left_of_it_are_told():
    """Of the process that asks: what it has taken already is no longer left."""
    code = "from cachewarmer.memory import most_memory, memory_left; print(most_memory(), memory_left())"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v {MOST >> 10}; exec '{sys.executable}' -c '{code}'"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    most, left = map(int, done.stdout.split())
    assert most == MOST
    assert 0 < left < MOST


def test_without_a_limit_there_is_no_number():
    done = subprocess.run(
        [sys.executable, "-c", "from cachewarmer.memory import *; print(most_memory(), memory_left())"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ([b"None"] * 2 if most_memory() is None else done.stdout.split())


@pytest.mark.parametrize("said", [None, "", "nonsense"])
def test_where_the_system_does_not_say_what_is_taken_it_is_not_known(tmp_path, monkeypatch, said):
    monkeypatch.setattr(memory, "most_memory", lambda: MOST)
    file = tmp_path / "statm"
    if said is not None:
        file.write_text(said)
    assert memory_left(str(file)) is None
