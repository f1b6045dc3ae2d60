"""The completion in real shells: each is asked as a person asks it, by the key or by its own command for it."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cachewarmer.cli.commands import NAMES, command
from tests.servers.need import need

JOB_NAME = "shot42"
KEY_SECONDS = 20
SHADES = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with files and directories, the program, a broker that knows two jobs, and each shell's script."""
    made = tmp_path_factory.mktemp("completion")
    (made / "bin").mkdir()
    program = made / "bin" / "cachewarmer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cachewarmer "$@"\n')
    program.chmod(0o755)
    tree = made / "here" / "tree of files"
    tree.mkdir(parents=True)
    (tree.parent / "rules.txt").write_text("+ *\n")
    environment = environment_of(made)
    for name in (JOB_NAME, "$(touch harm) `touch harm`;'\""):
        subprocess.run(
            [program, "submit", str(tree), "--name", name, "-q"], env=environment, check=True, capture_output=True
        )
    for shell in ("bash", "zsh", "fish"):
        (made / shell).write_bytes(
            subprocess.run([program, "completion", shell], env=environment, check=True, capture_output=True).stdout
        )
    return made


def environment_of(place):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CACHEWARMER", "XDG_", "LC_"))}
    return {
        **kept,
        "PATH": f"{place}/bin:{os.environ['PATH']}",
        "HOME": str(place),
        "CACHEWARMER_BROKER": f"sqlite:///{place}/broker.db",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


BEGIN = {
    "bash": ["bash --norc --noprofile -i", "PS1='% '; bind 'set show-all-if-ambiguous on' 'set page-completions off'"],
    "zsh": [
        "zsh -f -i",
        "PS1='%% '; unsetopt beep list_ambiguous; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D",
    ],
}
"""How a shell is started, and what makes its answers plain."""


class Keyboard:
    """An interactive shell at a terminal of its own."""

    def __init__(self, shell, place):
        start, setup = BEGIN[shell]
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.chdir(place / "here")
            os.execvpe(start.split()[0], start.split(), environment_of(place))
        self.said = ""
        self.type(f"stty columns 200 rows 50; {setup}; . {place}/{shell}; echo rea''dy\n")
        self.until("ready")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, *patterns):
        """All that is said until each of the patterns was in it."""
        end = time.monotonic() + KEY_SECONDS
        while not all(re.search(one, self.said) for one in patterns):
            assert time.monotonic() < end, (patterns, self.said)
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.said += SHADES.sub("", os.read(self.terminal, 65536).decode(errors="replace"))
        said, self.said = self.said, ""
        return said

    def complete(self, line, *patterns):
        """What the shell shows after a line and the key, which each of the patterns has to be in."""
        self.type("\x15 :\n")
        self.type("echo beg''in\n")
        self.until("begin\r\n[^\n]*% ")
        self.type(f"{line}\t")
        said = self.until(*patterns)
        self.type("\x15echo do''ne\n")
        return said + self.until("done\r\n")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(params=["bash", "zsh"])
def keyboard(request, place):
    need(shutil.which(request.param), f"{request.param} is not installed")
    made = Keyboard(request.param, place)
    yield made
    made.close()


def test_the_key_completes_in_an_interactive_shell(keyboard, place):
    """Commands, options, choices, also after =, files and directories with blanks, and jobs; what a job is called does no harm."""
    keyboard.complete("cachewarmer pau", "pause|se ")
    said = keyboard.complete("cachewarmer ", "warm", "completion")
    assert all(name in said for name in NAMES)
    said = keyboard.complete("cachewarmer warm --max", "--max-file-size", "--max-bandwidth", "--max-window")
    assert "--min-file-size" not in said
    keyboard.complete("cachewarmer warm --transport ", "auto", "local", "mount", "nfs")
    keyboard.complete("cachewarmer warm --transport=", "auto", "local", "mount", "nfs")
    keyboard.complete("cachewarmer status --state ", "queued", "completed_with_errors")
    keyboard.complete("cachewarmer warm --filter-from ru", r"les\.txt")
    keyboard.complete("cachewarmer scan tr", r"ee\\ of\\ files/")
    keyboard.complete("cachewarmer cancel shot", JOB_NAME[4:])
    keyboard.complete("cachewarmer cancel ", JOB_NAME, *jobs_of(place))
    assert not list(place.rglob("harm"))


def test_fish_names_candidates_with_what_they_are(place):
    """By its own command that says what the key would offer."""
    need(shutil.which("fish"), "fish is not installed")

    def offered(line):
        asked = ["fish", "--no-config", "-c", f"source {place}/fish; complete -C {line!r}"]
        said = subprocess.run(
            asked, cwd=place / "here", env=environment_of(place), check=True, capture_output=True, text=True
        ).stdout
        return dict(line.partition("\t")[::2] for line in said.splitlines())

    assert offered("cachewarmer ") == {name: command(name).summary for name in NAMES}
    assert offered("cachewarmer warm --tr") == {"--transport": "how to read the files"}
    assert offered("cachewarmer warm --transport ") == dict.fromkeys(("auto", "nfs", "mount", "local"), "")
    assert set(offered("cachewarmer warm --transport=")) == {
        f"--transport={x}" for x in ("auto", "nfs", "mount", "local")
    }
    assert "failed" in offered("cachewarmer status --state ")
    assert "rules.txt" in offered("cachewarmer scan --filter-from ")
    assert set(offered("cachewarmer scan ")) == {"tree of files/", "rules.txt"}
    assert offered("cachewarmer warm --include ") == {}
    jobs = offered("cachewarmer pause ")
    assert set(jobs) == {*jobs_of(place), JOB_NAME}
    assert all(text.startswith("queued, ") for text in jobs.values())
    assert set(offered("cachewarmer pause --broker sqlite:////no/such/file ")) == set()
    assert not list(place.rglob("harm"))


def jobs_of(place):
    asked = ["cachewarmer", "status", "--json"]
    said = subprocess.run(asked, env=environment_of(place), check=True, capture_output=True, text=True).stdout
    return [one["job"] for one in json.loads(said)["jobs"]]
