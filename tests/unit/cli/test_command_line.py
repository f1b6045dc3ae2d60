"""The command line: every command parses into its frozen options, and explains itself."""

import argparse
import dataclasses
import re
import subprocess
import sys

import pytest

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli.commands import NAMES, build_parser, command, run
from cachewarmer.cli.control import ControlOptions
from cachewarmer.cli.limit import LimitOptions
from cachewarmer.cli.manager import ManagerOptions
from cachewarmer.cli.options.general import BrokerChoice, Output
from cachewarmer.cli.options.serving import FleetChoice, Service
from cachewarmer.cli.scan import ScanOptions
from cachewarmer.cli.status import StatusOptions
from cachewarmer.cli.submit import SubmitOptions
from cachewarmer.cli.warm import WarmOptions
from cachewarmer.cli.worker import WorkerOptions
from cachewarmer.config import Settings, load_settings
from cachewarmer.errors import UsageError
from cachewarmer.model import Bandwidth, Hours, JobState


def parsed(*arguments):
    chosen, unknown = build_parser().parse_known_args(arguments)
    assert not unknown
    return chosen.command.parse(chosen)


EVERY_SELECTION = (
    "--include *.exr --include *.tx --exclude tmp --max-file-size 2k --min-file-size 1 --newer-than @100 "
    "--files-from list -0 --transport nfs --max-bandwidth 1M --name n --filter-from rules --include-snapshots "
    "--follow-links --one-file-system --no-hardlink-dedup --allow-empty --uid 0 --gid 7"
).split()
SELECTED = Selection(
    include=("*.exr", "*.tx"),
    exclude=("tmp",),
    max_file_bytes=2048,
    min_file_bytes=1,
    newer_than=100.0,
    files_from="list",
    null=True,
    transport="nfs",
    max_bandwidth=Bandwidth(1 << 20),
    name="n",
    filter_from=("rules",),
    snapshots=True,
    follow_links=True,
    one_file_system=True,
    hardlink_dedup=False,
    allow_empty=True,
    uid=0,
    gid=7,
)
READING = Reading(window=8, connections=3, patience=120.0)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["warm", "/a"], WarmOptions(targets=("/a",))),
        (
            [
                "warm",
                "a:/b",
                "/c",
                *EVERY_SELECTION,
                "--window",
                "8",
                "--connections",
                "3",
                "--patience",
                "2m",
                "--processes",
                "2",
                "-qv",
            ],
            WarmOptions(
                targets=("a:/b", "/c"),
                selection=SELECTED,
                reading=READING,
                processes=2,
                output=Output(quiet=True, verbose=True),
            ),
        ),
        (["warm", "/a", "--window", "auto"], WarmOptions(targets=("/a",), reading=Reading(window=0))),
        (
            ["warm", "/a", "--max-window", "9", "--gentle"],
            WarmOptions(targets=("/a",), reading=Reading(max_window=9, gentle=True)),
        ),
        (["warm", "--resume"], WarmOptions(resume="")),
        (["warm", "a:/b", "--resume"], WarmOptions(targets=("a:/b",), resume="")),
        (["warm", "--resume", "a:/b"], WarmOptions(targets=("a:/b",), resume="")),
        (["warm", "--resume", "j1", "--json"], WarmOptions(resume="j1", output=Output(json=True))),
        (
            ["scan", "/a", *EVERY_SELECTION, "--window", "8", "--connections=3", "--patience=120", "--verbose"],
            ScanOptions(targets=("/a",), selection=SELECTED, reading=READING, output=Output(verbose=True)),
        ),
        (
            ["submit", "/a", *EVERY_SELECTION, "--broker", "sqlite:///x", "--wait"],
            SubmitOptions(targets=("/a",), selection=SELECTED, broker=BrokerChoice(url="sqlite:///x"), wait=True),
        ),
        (["status"], StatusOptions()),
        (["status", "j1", "--watch", "-q"], StatusOptions(job="j1", watch=True, output=Output(quiet=True))),
        (["status", "--watch", "--json"], StatusOptions(watch=True, output=Output(json=True))),
        (
            ["status", "--state", "failed", "--state=paused", "--limit", "3"],
            StatusOptions(states=(JobState.FAILED, JobState.PAUSED), limit=3),
        ),
        (["warm", "/a", "--events", "e.jsonl"], WarmOptions(targets=("/a",), events="e.jsonl")),
        (["cancel", "j1"], ControlOptions(job="j1")),
        (["pause", "j1", "--json"], ControlOptions(job="j1", output=Output(json=True))),
        (["limit", "j1", "8Mbit"], LimitOptions(job="j1", bandwidth=Bandwidth(1_000_000))),
        (
            ["limit", "j1", "08:00-20:00=8Mbit,=none", "--json"],
            LimitOptions(job="j1", bandwidth=Bandwidth(0, (Hours(480, 1200, 1_000_000),)), output=Output(json=True)),
        ),
        (["submit", "/a", "--priority", "low"], SubmitOptions(targets=("/a",), selection=Selection(priority="low"))),
        (["resume", "j1", "-v"], ControlOptions(job="j1", output=Output(verbose=True))),
        (
            "manager --broker azure://a/p --storage-resource-group g --exit-when-idle 3 --name m --jobs-at-once 2 "
            "--window 8 --connections 3 --patience 120s --uid 5 --fleet vmss --workers 5 --bootstrap-address b --bootstrap-export /e "
            "--bootstrap-script /s -v".split(),
            ManagerOptions(
                broker=BrokerChoice(url="azure://a/p", resource_group="g"),
                service=Service(name="m", exit_when_idle=3.0, uid=5),
                reading=READING,
                fleet=FleetChoice(
                    kind="vmss", workers=5, bootstrap_address="b", bootstrap_export="/e", bootstrap_script="/s"
                ),
                output=Output(verbose=True),
                jobs_at_once=2,
            ),
        ),
        (
            "worker --transport mount --max-bandwidth 1k --exit-on-eof --name w -q".split(),
            WorkerOptions(
                service=Service(name="w"),
                transport="mount",
                max_bandwidth=1024,
                exit_on_eof=True,
                output=Output(quiet=True),
            ),
        ),
    ],
)
def test_a_command_line_becomes_its_options(arguments, options):
    """Every option reaches the one field that it is for; what is not given keeps the field's default."""
    assert parsed(*arguments) == options
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.output = Output()


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_help_and_the_help_ends_with_an_example(name):
    """TARGET and JOB as well; the example is a command line that parses."""
    parser, one = argparse.ArgumentParser(), command(name)
    one.add_arguments(parser)
    for action in parser._actions:
        assert action.help, action
        assert not action.help.endswith("."), action.help
    arguments = one.example.replace("'", "").split()
    assert arguments[:2] == ["cachewarmer", one.name] == ["cachewarmer", name]
    parsed(*arguments[1:])
    text = build_parser()._subparsers._group_actions[0].choices[name].format_help()
    assert text.rstrip().endswith(f"example:\n  {one.example}")


def test_defaults_that_help_names_are_those_of_the_settings():
    """The text says them without loading the settings."""
    text = " ".join(build_parser()._subparsers._group_actions[0].choices["warm"].format_help().split())
    assert load_settings({}).nfs.window_auto
    assert "before other clients have to wait (default: auto)" in text
    assert f"TCP connections to each address (default: {Settings().nfs.connections})" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["wram", "/a"], "did you mean warm?"),
        (["warm"], "TARGET"),
        (["warm", "/a", "--resume", "j1"], "TARGET"),
        (["warm", "/a", "--exlude", "x"], "did you mean --exclude?"),
        (["--vrsion"], "did you mean --version?"),
        (["-x"], "unknown option -x"),
        (["warm", "/a", "--transport", "nfss"], "not one of auto, nfs, mount, local; did you mean nfs?"),
        (["status", "--state", "warmin"], "did you mean warming?"),
        (["scan", "nfs://cache1/a?nfsprt=1"], "did you mean nfsport?"),
        (["scan", "nfs://cache1/a?exprot=/a"], "did you mean export?"),
        (["warm", "/a", "--exlude=x"], "did you mean --exclude?"),
        (["-v", "warm", "/a"], "-v must come after the command"),
        (["warm", "/a", "--incl", "x"], "unknown option --incl"),
        (["warm", "/a", "--window", "0"], "--window"),
        (["warm", "/a", "--window", "-1"], "--window: '-1' is not a positive number"),
        (["warm", "/a", "--window", "8", "--max-window", "9"], "--window"),
        (["warm", "/a", "--window", "8", "--gentle"], "--gentle"),
        (["warm", "/a", "--processes", "65"], "between 1 and 64"),
        (["warm", "/a", "--max-file-size", "big"], "big"),
        (["warm", "/a", "--newer-than", "soon"], "soon"),
        (["warm", "/a", "--newer-than", "2999-01-01"], "in the future"),
        (["warm", "/a", "/b", "--files-from", "x"], "exactly one TARGET"),
        (["scan", "/a", "--exit-when-idle", "3"], "--exit-when-idle"),
        (["status", "--state", "warm"], "the states are queued, scanning, warming"),
        (["status", "j1", "--limit", "3"], "leave out JOB"),
        (["status", "--since", "2999-01-01"], "in the future"),
        (["warm", "/a", "--events", "-", "--json"], "give --events a file"),
        (["status", "a", "b"], "unexpected argument 'b'"),
        (["manager", "--json"], "unknown option --json"),
        (["worker", "--json"], "unknown option --json"),
        (["worker", "--exit-when-idle", "-1"], "--exit-when-idle"),
        (["warm", "/a", "--patience", "soon"], "--patience"),
        (["warm", "/a", "--uid", "-1"], "--uid"),
        (["warm", "/a", "--gid", "4294967296"], "--gid"),
        (["warm", "/tmp", "--uid", "5"], "--uid and --gid are for NFS"),
        (["warm", "/tmp", "--filter-from", "/no/such/rules"], "/no/such/rules"),
        (["warm", "/tmp", "--min-file-size", "2", "--max-file-size", "1"], "above the maximum"),
        (["manager", "--jobs-at-once", "0"], "--jobs-at-once"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, says, capsys):
    """It says what is wrong and, where it can, what was meant."""
    assert run(list(arguments)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert says in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "same"), [(["help"], ["--help"]), (["help", "warm"], ["warm", "--help"])])
def test_help_is_a_command_for_those_who_try_it(arguments, same, capsys):
    """It shows what --help shows; the usage is a line, and no option is broken in two."""
    shown = []
    for one in (arguments, same):
        with pytest.raises(SystemExit):
            run(list(one))
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    if "warm" in arguments:
        assert shown[0].startswith("usage: cachewarmer warm [OPTION...] [TARGET...]\n")
    assert not re.search(r"-$", shown[0], re.MULTILINE)


def test_a_parser_raises_instead_of_exiting():
    """So that one place turns errors into lines and exit codes."""
    with pytest.raises(UsageError):
        build_parser().parse_args(["scan"])


def said_by(code):
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


WARMING = (
    "from cachewarmer.cli import bounds, events, inputs, observing, outcome, page, progress, warm, warmed\n"
    "import cachewarmer.choice.jobs, cachewarmer.choice.ledgers\nimport cachewarmer.onemachine, cachewarmer.broker.sqlite.broker, cachewarmer.targets.nfs3.session\n"
)
"""What ``warm`` imports before its first call."""


def test_help_imports_nothing_heavy():
    """What is slow to import is imported by the command that needs it."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"  # coverage imports some of them itself
        "from cachewarmer.cli.commands import build_parser\nbuild_parser().format_help()\n"
        "heavy = {'asyncio', 'azure', 'aiohttp', 'sqlite3', 'uvloop', 'logging'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    assert said_by(code).strip() == "[]"


def test_warming_imports_nothing_that_it_may_not_need():
    """A small job takes little longer than its start."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        f"{WARMING}"
        "unneeded = {'tomllib', 'multiprocessing', 'importlib.resources', 'pickle', 'shlex', 'glob'}\n"
        "print(sorted(unneeded & (set(sys.modules) - before)))"
    )
    assert said_by(code).strip() == "[]"


SELDOM = (
    "ledger.files ledger.records ledger.since model.outcomes warming.notes manager.told manager.each_address "
    "manager.fan_out planning.filelist planning.listed planning.usd planning.frames patterns likeness broker.find "
    "broker.effort warming.first_generation warming.steering warming.window warming.rounds warming.canaries "
    "targets.meant targets.mount.table"
)
"""What only some jobs want."""


def test_warming_imports_its_own_modules_only_as_they_are_used():
    """Each costs the start of a command some 0.1 ms."""
    code = f"import sys\n{WARMING}seldom = {SELDOM.split()!r}\nprint([one for one in seldom if 'cachewarmer.' + one in sys.modules])"
    assert said_by(code).strip() == "[]"


def test_what_warming_imports_makes_its_dataclasses_later():
    """The standard decorator compiles their methods at once."""
    code = (
        "import dataclasses, sys\n"
        "real = dataclasses.dataclass\n"
        "def told(cls=None, /, **options):\n"
        "    caller = sys._getframe(1).f_globals['__name__']\n"
        "    if caller.startswith('cachewarmer.') and caller != 'cachewarmer.values':\n"
        "        print(caller)\n"
        "    return real(cls, **options)\n"
        "dataclasses.dataclass = told\n"
    ) + WARMING
    assert said_by(code) == ""
