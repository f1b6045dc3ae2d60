"""What commands write to a real terminal, and to a pipe instead of one."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

import pytest

CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def tree(tmp_path):
    for number in range(50):
        (tmp_path / "tree" / f"d{number % 5}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / f"d{number % 5}" / f"f{number}").write_bytes(b"x" * 5000)
    return tmp_path / "tree"


def environment_of(tree, **more):
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "CACHEWARMER_BROKER": f"sqlite:///{tree.parent}/broker.db", "TERM": "xterm", **more}


def on_terminal(tree, *arguments, columns=100, resized=0, piped=False, **environment):
    """What a command writes to a terminal, of which ``resized`` are the columns from the first output on."""
    main, other = pty.openpty()
    size = lambda columns: fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))  # noqa: E731
    size(columns)
    child = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer", *arguments],
        env=environment_of(tree, **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else other,
        stderr=other,
    )
    os.close(other)
    said = b""
    with open(main, "rb", buffering=0) as terminal:
        while select.select([terminal], [], [], 30)[0]:
            try:
                said += (read := terminal.read(65536))
            except OSError:  # nobody has it open any more
                break
            if not read:
                break
            if resized:
                size(resized)
        report = child.communicate(timeout=30)[0] if piped else b""
    return child.wait(30), said.decode(), (report or b"").decode()


def test_a_bar_and_colours_on_a_terminal(tree):
    """It fits the width that the terminal has at that moment, and is gone at the end; the report has the state in a colour."""
    code, said, _ = on_terminal(tree, "warm", str(tree), "--max-bandwidth", "200k", columns=100, resized=40)
    assert code == 0, said
    drawn = [CODES.sub("", line) for line in re.findall(r"\r\x1b\[J([^\r\n]*)\r(?!\n)", said)]
    assert max(map(len, drawn)) <= 100
    assert len(drawn[-1]) <= 39
    assert re.match(r"\d+ %, ", drawn[-1])
    tail = said[said.rindex("\r\x1b[J") :]
    assert tail.startswith("\r\x1b[J" + str(tree)[:5])
    assert "\x1b[32mcompleted\x1b[0m" in tail
    code, said, _ = on_terminal(tree, "warm", str(tree), "--max-bandwidth", "200k", columns=100)
    assert re.search(r"\[\x1b\[32m[█▏▎▍▌▋▊▉]+\x1b\[0m *\]  *\d+ %  \d+ files", said)


@pytest.mark.parametrize(
    ("environment", "coloured", "moving"),
    [
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"PYTHONIOENCODING": "latin-1"}, True, True),
    ],
)
def test_terminals_that_want_or_can_do_less(tree, environment, coloured, moving):
    """No colours, no movement, no block characters."""
    code, said, _ = on_terminal(tree, "warm", str(tree), "--max-bandwidth", "250k", **environment)
    assert code == 0
    assert ("\x1b[32m" in said) == coloured
    assert ("\r\x1b[J" in said) == moving
    if "PYTHONIOENCODING" in environment:
        assert re.search(r"\[\x1b\[32m#+\x1b\[0m *\]", said)
        assert "█" not in said


def test_errors_and_warnings_are_in_colours(tree):
    """The line's first word: the rest is for reading."""
    code, said, _ = on_terminal(tree, "scan", f"{tree}x")
    assert code == 1
    assert f"\x1b[1;31mcachewarmer:\x1b[0m look up {tree}x: No such file or directory; did you mean {tree}?" in said
    _, said, _ = on_terminal(tree, "scan", str(tree), "--include", "*.exr")
    assert "  \x1b[35mwarning:\x1b[0m --include '*.exr' matched nothing" in said


def test_what_is_piped_is_plain(tree):
    """Also where stderr is a terminal; FORCE_COLOR brings colours to the text, and never to JSON."""
    code, said, report = on_terminal(tree, "warm", str(tree), "--max-bandwidth", "250k", piped=True)
    assert code == 0
    assert "\r\x1b[J" in said
    assert "completed" in report
    assert "\x1b" not in report
    environment = environment_of(tree, FORCE_COLOR="1")
    for options, coloured in ((["status"], True), (["status", "--json"], False)):
        done = subprocess.run(
            [sys.executable, "-m", "cachewarmer", *options], env=environment, check=True, capture_output=True, text=True
        )
        assert ("\x1b[32m" in done.stdout) == coloured
        assert done.stderr == ""
