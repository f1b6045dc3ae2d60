"""An option is offered only where it changes something: for each command, which options it has and what they change there."""

import pytest

from cachewarmer.cli.commands import NAMES, build_parser, command
from cachewarmer.cli.dropin import jobsubmitter
from cachewarmer.cli.dropin import manager as dropin_manager
from cachewarmer.cli.dropin import worker as dropin_worker
from cachewarmer.cli.options import selecting
from cachewarmer.errors import UsageError

TREE = (
    "--include --exclude --filter-from --max-file-size --min-file-size --newer-than --include-snapshots --follow-links "
    "--one-file-system --no-hardlink-dedup --head --tail --transport --uid --gid"
)
"""Which files are found, and as whom: wherever a tree is listed."""
LISTS = "--files-from --null --frames --usd --map"
READING = "--window --max-window --gentle --connections --patience"
"""Wherever addresses are called, if only for listing."""
CACHES = "--each-address --address-subset"
LOG = "--verbose --log-format --log-file"
JOB = "--name --max-bandwidth --in-order --allow-empty"
LEDGER = "--ledger --keep-ledger --since --failed-of"
HOOKS = "--on-end --webhook"
PAGE = "--http --http-host --http-token-file"
METRICS = "--metrics --metrics-token-file"
SERVICE = "--exit-when-idle --name --uid --gid --storage-resource-group"
FLEET = "--fleet --workers --fleet-option --bootstrap-address --bootstrap-export --bootstrap-script"
OPTIONS = {
    "warm": (
        f"{TREE} {LISTS} {JOB} {READING} {CACHES} --fan-out --access-as --metadata-only --priority --processes --resume "
        f"--verify --expect {LEDGER} {HOOKS} {PAGE} --events --stats --metrics-file --broker --json --quiet {LOG}"
    ),
    # It finds the files itself, and an empty round is an ordinary one.
    "watch": (
        f"{TREE} --name --max-bandwidth {READING} {CACHES} --fan-out --every --once --processes --broker --quiet {LOG}"
    ),
    # --max-bandwidth: so that the same options first count and then warm; its help says that it has no effect.
    "scan": f"{TREE} {LISTS} {JOB} {READING} --json --quiet {LOG}",
    # It is no job: there is no name to show and no limit to share, and the sample has an order of its own. It searches for
    # no window either: what it measures is how long a READ takes.
    "verify": (
        f"{TREE} {LISTS} --window --max-window --connections --patience {CACHES} --job --interval --samples --seed --expect --what --as --no-ask "
        f"--broker --json --quiet {LOG}"
    ),
    "doctor": f"--uid --gid --broker --workers --json --quiet {LOG}",
    # --in-order: names of one file are counted each for itself then; --access-as: it makes the scan longer.
    "plan": (
        f"{TREE} {LISTS} --in-order --max-bandwidth {READING} --access-as --files --bytes --workers --prices "
        f"--cache-size --json --quiet {LOG}"
    ),
    "submit": (
        f"{TREE} {LISTS} {JOB} {CACHES} --fan-out --access-as --metadata-only --priority --verify --expect {LEDGER} "
        f"{HOOKS} --wait --broker --json --quiet {LOG}"
    ),
    "status": f"--watch --state --since --limit --broker --json --quiet {LOG}",
    "cancel": f"--broker --json --quiet {LOG}",
    "pause": f"--broker --json --quiet {LOG}",
    "resume": f"--broker --json --quiet {LOG}",
    "limit": f"--broker --json --quiet {LOG}",
    "export": f"--ledger --broker {LOG}",
    "manager": f"{READING} {SERVICE} {FLEET} {HOOKS} {PAGE} {METRICS} --prices --jobs-at-once --stats --broker --quiet {LOG}",
    "worker": f"{READING} {SERVICE} {METRICS} --exit-on-eof --transport --max-bandwidth --stats --broker --quiet {LOG}",
    "completion": f"--broker {LOG}",
}
STORAGE = "enableDebugging storageAccountResourceGroup storageAccountName queueNamePrefix"
FLAGS = {
    dropin_worker: f"{STORAGE} storageKey",
    dropin_manager: (
        f"{STORAGE} bootstrapMountAddress bootstrapExportPath bootstrapScriptPath workerCount vmssUserName vmssPassword "
        "vmssSshPublicKey vmssSubnetName"
    ),
    jobsubmitter: (
        f"{STORAGE} warmTargetMountAddresses warmTargetExportPath warmTargetPath inclusionCsv exclusionCsv "
        "maxFileSizeBytes uid gid jobName verify blockUntilWarm"
    ),
}


def parser_of(name):
    (subparsers,) = (one for one in build_parser([name])._actions if one.dest not in ("help", "version"))
    return subparsers.choices[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_offers_the_options_that_take_effect_in_it(name):
    """One that is new is named above, with what it changes if that isn't plain."""
    offered = {action.option_strings[-1] for action in parser_of(name)._actions if action.option_strings}
    assert offered - {"--help"} == set(OPTIONS[name].split())


@pytest.mark.parametrize("module", FLAGS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_drop_in_command_reads_every_flag_that_it_takes(module):
    """Those of the first CacheWarmer, and our own; what a flag says is asked for by its name."""
    given = {flag.name for flag in module.FLAGS.flags}
    assert given == set(FLAGS[module].split())
    asked = set()

    class Asked(dict):
        def get(self, name, default=None):
            asked.add(name)
            return super().get(name, default)

    texts = {"workerCount": "0", "storageAccountName": "account", "queueNamePrefix": "prefix"}
    texts |= {"warmTargetMountAddresses": "a", "warmTargetExportPath": "/e", "warmTargetPath": "/p"}
    from cachewarmer.cli.dropin.flags import Values

    values = Values(Asked({name: text for name, text in texts.items() if name in given}))
    module.parse(values)
    if module is jobsubmitter:
        module.job(values)
    if module is dropin_manager:
        module.parse(
            Values(
                Asked(
                    {**texts, "workerCount": "1", "bootstrapMountAddress": "a", **dict.fromkeys(module.BOOTSTRAP, "x")}
                )
            )
        )
    assert given - asked - {"enableDebugging"} == set()


def test_what_a_command_leaves_out_is_refused_and_has_its_default():
    """Everything else of the selection works on."""
    parser = parser_of("verify")
    chosen = parser.parse_args(["/a", "--include", "*.exr"])
    assert (chosen.name, chosen.max_bandwidth, chosen.in_order, chosen.allow_empty) == ("", None, False, False)
    assert selecting.selection(chosen).include == ("*.exr",)
    for option in ("--name=x", "--max-bandwidth=1M", "--in-order", "--allow-empty"):
        _, unknown = parser.parse_known_args(["/a", option])
        assert unknown == [option]
        assert option.partition("=")[0] not in parser.format_help()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["verify", "--job", "j1", "--include", "*.exr"],
            "--job takes the target and the choice of files from the job",
        ),
        (["doctor", "/a", "--workers", "3"], "--workers is for a broker on Azure"),
        (["doctor", "--broker", "sqlite:///b", "--uid", "3"], "--uid and --gid are for a TARGET"),
    ],
)
def test_an_option_that_has_no_effect_beside_another_is_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        command(arguments[0]).parse(parser_of(arguments[0]).parse_args(arguments[1:]))


def test_null_is_about_a_list():
    from cachewarmer.choice.jobs import jobs_of
    from cachewarmer.choice.values import Selection

    with pytest.raises(UsageError, match="--null needs --files-from"):
        jobs_of(["/a"], Selection(null=True))


@pytest.mark.parametrize("gentle", [True, False])
def test_a_scan_searches_for_its_window_as_warm_does(tmp_path, gentle, monkeypatch):
    """So --gentle and --max-window bound it."""
    from contextlib import nullcontext

    from cachewarmer import onemachine
    from cachewarmer.cli.commands import run

    seen = []
    monkeypatch.setattr(onemachine, "steered", lambda pool: seen.append(pool.settings.nfs) or nullcontext())
    assert run(["scan", str(tmp_path), "-q", "--max-window", "9", *(["--gentle"] if gentle else [])]) == 0
    assert [(one.window_auto, one.gentle, one.window_max_calls) for one in seen] == [(True, gentle, 9)]


@pytest.mark.parametrize(
    ("written", "options", "expected"),
    [("", [], (True, 16)), ("window_calls = 2", [], (False, 2)), ("", ["--window", "5"], (False, 5))],
    ids=["automatic", "settings", "option"],
)
def test_watch_is_gentle_and_leaves_a_window_fixed_that_is(tmp_path, written, options, expected, monkeypatch):
    """Whether an option or the settings file fixes it; only an automatic window can be gentle."""
    from cachewarmer import onemachine
    from cachewarmer.cli.commands import run

    seen = []

    def warm(job, *, settings, **_):
        seen.append(settings.nfs)
        raise UsageError("enough is seen")

    (tmp_path / "settings.toml").write_text(f"[nfs]\n{written}\n")
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setattr(onemachine, "warm", warm)
    assert run(["watch", str(tmp_path), "--once", "--broker", f"sqlite:///{tmp_path}/b.db", *options]) == 2
    (nfs,) = seen
    assert (nfs.window_auto, nfs.window_calls) == expected
    assert nfs.gentle


@pytest.mark.parametrize("name", NAMES)
def test_every_option_that_takes_a_value_names_its_default(name):
    """So that a reader of the help knows what happens without it."""
    for action in parser_of(name)._actions:
        if action.option_strings and action.nargs != 0:
            assert "default: " in action.help, f"{name} {action.option_strings[-1]}"
