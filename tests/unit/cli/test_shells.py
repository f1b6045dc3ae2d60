"""What completion and the manual page say, held against the parsers they are made from."""

import argparse

import pytest

from cachewarmer.cli.commands import NAMES, command
from cachewarmer.cli.completion import candidates
from cachewarmer.cli.shells import SCRIPTS, words_of
from cachewarmer.cli.shells.fish import quoted as fish_quoted
from cachewarmer.cli.shells.grammar import Kind, brief
from cachewarmer.model import JobState, JobStatus, WarmJob
from scripts.manpages import escaped, page

WORDS = {one.name: one for one in words_of(map(command, NAMES))}


def options_of(name):
    parser = argparse.ArgumentParser(add_help=False)
    command(name).add_arguments(parser)
    return [text for action in parser._actions for text in action.option_strings]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_each_script_and_in_the_manual_page(name):
    """By the names that the parser takes."""
    words, roff = WORDS[name], "\n".join(page())
    own = roff.partition(f".SS cachewarmer {name}")[2].partition(".SS ")[0]
    assert own
    known = [text for option in words.options for text in option.names]
    assert known == ["-h", "--help", *options_of(name)]
    for text in options_of(name):
        assert f"\\fB{escaped(text)}\\fR" in own
    scripts = {shell: make([words]) for shell, make in SCRIPTS.items()}
    assert all(text in scripts[shell] for shell in ("bash", "zsh") for text in known)
    assert all(f" -l {text[2:]}" in scripts["fish"] for text in known if text.startswith("--"))
    assert all(fish_quoted(option.brief) in scripts["fish"] for option in words.options)


def test_values_are_completed_as_what_they_are():
    """By the choices of the parser, and by what the help calls them."""
    values = {name: option.value for one in WORDS.values() for option in one.options for name in option.names}
    assert values["--json"] is None
    assert values["--include"].kind is Kind.TEXT
    assert values["--files-from"].kind is Kind.FILE
    assert values["--on-end"].kind is Kind.PROGRAM
    assert values["--fleet"].choices == ("none", "local", "slurm", "vmss")
    assert values["--window"].choices == ("auto",)
    assert "completed_with_errors" in values["--state"].choices
    assert (values["--resume"].kind, values["--resume"].optional) == (Kind.JOB, True)
    assert [one.operands[0].kind for one in WORDS.values() if one.operands] == [
        *[Kind.FILE] * 7,
        *[Kind.JOB] * 6,
        Kind.CHOICE,
    ]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("leave out larger files: 500M, 2GiB", "leave out larger files"),
        ("TCP connections for one address (default: 2)", "TCP connections for one address"),
        ("vmss: the script in it", "vmss: the script in it"),
        ("with --verify: exit with 3 if less", "with --verify: exit with 3 if less"),
        ("the 95 %% interval;\n no more", "the 95 % interval"),
        ("word " * 30, "word " * 12 + "word..."),
    ],
)
def test_a_description_is_the_first_clause_of_the_help(text, short):
    """It fits beside a candidate."""
    assert brief(text) == short


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("shot42", ["j1", "shot42"]),
        ("", ["j1"]),
        ("$(reboot)", ["j1"]),
        ("a b", ["j1"]),
        ("x\nj2", ["j1"]),
        ("-v", ["j1"]),
        ("a:b", ["j1"]),
    ],
)
def test_only_names_without_a_meaning_to_shells_are_offered(name, offered):
    """A job's name may hold anything; its id never does."""
    status = JobStatus(job=WarmJob(job_id="j1", warm_path="/a\x1b[2J", name=name), state=JobState.QUEUED)
    assert [word for word, _ in candidates(status)] == offered
    assert all("\x1b" not in what and "\n" not in what for _, what in candidates(status))
