"""The first CacheWarmer's command lines, as Go's flag package reads them."""

import json

import pytest

from cachewarmer.cli import dropin, inputs
from cachewarmer.cli.dropin import jobsubmitter, manager, worker
from cachewarmer.cli.dropin.flags import Flag, FlagSet, HelpWanted, integer
from cachewarmer.errors import UsageError

COMMANDS = [jobsubmitter, manager, worker]
SPELLED = {
    jobsubmitter: "enableDebugging warmTargetMountAddresses warmTargetExportPath warmTargetPath inclusionCsv exclusionCsv "
    "maxFileSizeBytes uid gid jobName storageAccountResourceGroup storageAccountName queueNamePrefix verify blockUntilWarm",
    manager: "enableDebugging bootstrapMountAddress bootstrapExportPath bootstrapScriptPath workerCount "
    "storageAccountResourceGroup storageAccountName queueNamePrefix vmssUserName vmssPassword vmssSshPublicKey vmssSubnetName",
    worker: "enableDebugging storageAccountResourceGroup storageAccountName storageKey queueNamePrefix",
}
STORAGE = ["-storageAccountName=farm", "-queueNamePrefix=p"]
TARGET = ["-warmTargetMountAddresses=a", "-warmTargetExportPath=/e", "-warmTargetPath=/w"]
BOOTSTRAP = ["-bootstrapMountAddress=10.0.0.1", "-bootstrapExportPath=/boot", "-bootstrapScriptPath=/b/x.sh"]
ANY = FlagSet(
    program="p",
    summary="s",
    example="e",
    flags=(Flag(name="text", text="t"), Flag(name="number", text="n"), Flag(name="switch", text="s", switch=True)),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_spelled_as_the_first_cachewarmer_spelled_it(command):
    """One dash or two, the value after a space or an equals sign."""
    flags = {flag.name: flag for flag in command.FLAGS.flags}
    assert set(SPELLED[command].split()) <= set(flags)
    optional = FlagSet(
        program="p",
        summary="s",
        example="e",
        flags=tuple(Flag(name=n, text="t", switch=f.switch) for n, f in flags.items()),
    )
    for dash in ("-", "--"):
        for name, flag in flags.items():
            if flag.switch:
                for argument, value in ((name, True), (f"{name}=true", True), (f"{name}=false", False)):
                    assert optional.parse([dash + argument]).switch(name) is value
            else:
                for arguments in ([f"{dash}{name}", "x"], [f"{dash}{name}=x"]):
                    assert optional.parse(arguments).text(name) == "x"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("100", 100),
        ("+7", 7),
        ("-1", -1),
        ("0x100", 256),
        ("-0X1f", -31),
        ("017", 15),
        ("0o17", 15),
        ("0b101", 5),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("0_7", 7),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_numbers_are_gos_integer_literals(text, value):
    """As strconv.ParseInt takes them with base 0."""
    assert integer("n", text) == value


@pytest.mark.parametrize(
    "text", ["", "many", "1.5", "1e3", "09", "0x", "1__0", "_1", "1_", "0b2", "٣", " 1", "--1", "9223372036854775808"]
)
def test_what_is_not_an_integer_literal_is_refused(text):
    """With the flag's name, before anything is started."""
    with pytest.raises(UsageError, match="flag -n"):
        integer("n", text)


@pytest.mark.parametrize("value", ["true", "TRUE", "True", "t", "T", "1"])
def test_a_switch_takes_what_go_takes(value):
    assert ANY.parse([f"-switch={value}"]).switch("switch")
    assert not ANY.parse(["-switch", f"-switch={'f' if len(value) == 1 else 'false'}"]).switch("switch")


@pytest.mark.parametrize("value", ["maybe", "yes", "tRue", ""])
def test_a_switch_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(UsageError, match="-switch"):
        ANY.parse([f"-switch={value}"])


@pytest.mark.parametrize("value", ["-x", "--", "-number", "-switch=maybe", "", "a b", "=", "--x=y", "abc=="])
def test_a_value_may_look_like_anything(value):
    """A password may begin with a dash, a key end with equals signs."""
    for arguments in (["-text", value], [f"--text={value}"]):
        values = ANY.parse([*arguments, "-number", "5"])
        assert (values.text("text"), values.number("number")) == (value, 5)


@pytest.mark.parametrize("end", ["stray", "-", "--", "true"])
def test_flags_end_at_the_first_argument_that_is_not_one(end):
    """What follows is not read, known flag or not."""
    values = ANY.parse(["-number=1", end, "-number=2", "-nonsense"])
    assert values.number("number") == 1
    assert values.rest == tuple(one for one in (end, "-number=2", "-nonsense") if one != "--")


@pytest.mark.parametrize("arguments", [["-text"], ["-nonsense", "x"], ["-Text=x"], ["---text=x"], ["-=x"]])
def test_what_go_refuses_is_refused(arguments):
    """A flag without its value, an unknown flag (case counts), three dashes, no name."""
    with pytest.raises(UsageError):
        ANY.parse(arguments)


@pytest.mark.parametrize("argument", ["-h", "--h", "-help", "--help"])
def test_help_is_asked_for(argument):
    with pytest.raises(HelpWanted):
        ANY.parse([argument])


@pytest.mark.parametrize("name", ["jobsubmitter", "manager", "worker"])
def test_help_shows_every_flag_with_its_description(name, capsys):
    """On stdout, with exit code 0 and an example at its end."""
    command = {"jobsubmitter": jobsubmitter, "manager": manager, "worker": worker}[name]
    assert dropin.run(name, ["-h"]) == 0
    said = capsys.readouterr().out
    for flag in command.FLAGS.flags:
        assert f"  -{flag.name}" in said
        assert flag.text in said
    assert said.rstrip().splitlines()[-1].startswith(f"  cachewarmer-{name} -")


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("worker", [], 1, "-storageAccountName is required"),
        ("worker", ["-storageAccountName", "x"], 1, "-queueNamePrefix is required"),
        ("jobsubmitter", STORAGE, 1, "-warmTargetMountAddresses is required"),
        ("jobsubmitter", [*STORAGE, *TARGET[:2], "-warmTargetPath="], 1, "-warmTargetPath is required"),
        ("manager", STORAGE, 1, "-bootstrapMountAddress is required"),
        ("worker", ["-noSuchFlag", "x"], 2, "-noSuchFlag"),
        ("worker", ["-storagekey=x"], 2, "did you mean -storageKey?"),
        ("manager", [*STORAGE, "-workerCount=many"], 2, "-workerCount"),
    ],
)
def test_a_missing_flag_exits_with_1_and_a_wrong_one_with_2(name, arguments, code, said, capsys):
    """In one line that names the flag."""
    assert dropin.run(name, arguments) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.fixture
def launch(monkeypatch):
    """What a manager's flags describe: (fleet's kind, fleet's settings, how workers are launched), nothing started."""

    def ask(*arguments):
        found = []
        chosen = manager.parse(manager.FLAGS.parse([*STORAGE, *arguments]))
        settings = inputs.settings(chosen.reading, chosen.fleet)
        monkeypatch.setattr("cachewarmer.fleet.open_fleet", lambda *of: found.append(of))
        inputs.fleet(chosen.fleet, chosen.reading, chosen.broker, settings)
        return found[0]

    return ask


def test_a_managers_flags_describe_a_scale_set(launch):
    """Each flag reaches the setting that it names."""
    kind, settings, launched = launch(
        *BOOTSTRAP,
        *("-storageAccountResourceGroup", "rg", "-workerCount=0x10", "-vmssUserName", "td", "-vmssPassword=one two"),
        *("-vmssSshPublicKey=ssh-rsa AAAA td@host", "-vmssSubnetName", "farm"),
    )
    assert (kind, settings.workers, settings.vmss.user_name, settings.vmss.password) == ("vmss", 16, "td", "one two")
    assert (settings.vmss.ssh_public_key, settings.vmss.subnet_name) == ("ssh-rsa AAAA td@host", "farm")
    assert (launched.broker_url, launched.storage_resource_group) == ("azure://farm/p", "rg")
    assert launched.bootstrap_mount_address == "10.0.0.1"
    assert (launched.bootstrap_export_path, launched.bootstrap_script_path) == ("/boot", "/b/x.sh")


@pytest.mark.parametrize("count", [[], ["-workerCount="]])
def test_twelve_workers_are_the_default(launch, count):
    """As they were the first CacheWarmer's; a variable that is empty says nothing."""
    kind, settings, _ = launch(*BOOTSTRAP, *count)
    assert (kind, settings.workers) == ("vmss", 12)


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_workers_are_no_fleet(launch, count):
    """And need no bootstrap folder."""
    assert launch(f"-workerCount={count}")[0] == "none"


def test_the_password_may_come_from_the_environment(launch, monkeypatch):
    """Empty flags leave the defaults, and nothing that is logged holds the password."""
    monkeypatch.setenv("VMSS_PASSWORD", "p4ss")
    kind, settings, _ = launch(*BOOTSTRAP, "-vmssUserName=", "-vmssPassword=", "-vmssSshPublicKey=")
    assert (kind, settings.vmss.user_name, settings.vmss.password) == ("vmss", "azureuser", "p4ss")
    assert "p4ss" not in repr(settings)


@pytest.mark.parametrize("count", [[], ["-workerCount=0"]])
def test_a_fleet_in_the_settings_file_is_not_replaced_by_the_default(launch, monkeypatch, tmp_path, count):
    """A service that is installed as it is may run workers on its own machine."""
    config = tmp_path / "c.toml"
    config.write_text('[fleet]\nkind = "local"\nworkers = 4\n')
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(config))
    kind, settings, _ = launch(*count)
    assert (kind, settings.workers) == ("local", 4)


def test_a_workers_flags_become_a_workers_options():
    """The key is in them, and not in their repr."""
    chosen = worker.parse(worker.FLAGS.parse([*STORAGE, "-storageKey", "abc==", "-enableDebugging"]))
    assert (chosen.broker.url, chosen.broker.storage_key, chosen.output.verbose) == ("azure://farm/p", "abc==", True)
    assert "abc==" not in repr(chosen)


def submitted(*arguments):
    return jobsubmitter.job(jobsubmitter.FLAGS.parse([*STORAGE, *TARGET, *arguments]))


def test_a_submitted_job_has_the_first_cachewarmers_format():
    """Only the keys that its manager knows, each as it wrote them, and the filters' lists without empty parts."""
    made = submitted(
        "-warmTargetMountAddresses= 10.0.1.7,,10.0.1.8,", "-inclusionCsv=*.exr, *.tx ,", "-maxFileSizeBytes=0x100"
    )
    assert json.loads(made.to_json()) == {
        "WarmTargetMountAddresses": ["10.0.1.7", "10.0.1.8"],
        "WarmTargetExportPath": "/e",
        "WarmTargetPath": "/w",
        "InclusionList": ["*.exr", "*.tx"],
        "ExclusionList": [],
        "MaxFileSizeBytes": 256,
    }


def test_a_size_below_zero_is_no_limit():
    """As the first CacheWarmer's workers took it."""
    assert submitted("-maxFileSizeBytes", "-1").wanted.max_file_bytes == 0


def test_a_job_may_name_who_reads_it():
    """The workers' own setting counts where it does not."""
    assert (submitted().access.uid, submitted().access.gid) == (-1, -1)
    made = submitted("-uid", "0", "-gid=4294967295")
    assert (made.access.uid, made.access.gid) == (0, 4294967295)
    with pytest.raises(UsageError, match="-uid must be a number from 0 to 4294967295"):
        submitted("-uid=4294967296")


def test_waiting_is_asked_for():
    chosen = jobsubmitter.parse(jobsubmitter.FLAGS.parse([*STORAGE, *TARGET, "-blockUntilWarm"]))
    assert (chosen.wait, chosen.broker.url) == (True, "azure://farm/p")
