import pytest

from cachewarmer.cli import dropin, dropin_flags, options
from cachewarmer.errors import UsageError

COMMANDS = [
    ("jobsubmitter", dropin_flags.JOBSUBMITTER, dropin_flags.JOBSUBMITTER_SWITCHES),
    ("manager", dropin_flags.MANAGER, dropin_flags.SWITCHES),
    ("worker", dropin_flags.WORKER, dropin_flags.SWITCHES),
]
SPELLED = {
    "jobsubmitter": "enableDebugging warmTargetMountAddresses warmTargetExportPath warmTargetPath inclusionCsv exclusionCsv "
    "maxFileSizeBytes storageAccountResourceGroup storageAccountName queueNamePrefix blockUntilWarm",
    "manager": "enableDebugging bootstrapMountAddress bootstrapExportPath bootstrapScriptPath workerCount "
    "storageAccountResourceGroup storageAccountName queueNamePrefix vmssUserName vmssPassword vmssSshPublicKey vmssSubnetName",
    "worker": "enableDebugging storageAccountResourceGroup storageAccountName storageKey queueNamePrefix",
}


@pytest.mark.parametrize(("name", "flags", "switches"), COMMANDS)
def test_every_flag_is_spelled_as_the_first_cachewarmer_spelled_it(name, flags, switches):
    assert {*flags, *switches} == set(SPELLED[name].split())
    for dash in ("-", "--"):
        for flag in flags:
            for arguments in ([f"{dash}{flag}", "x"], [f"{dash}{flag}=x"]):
                assert getattr(dropin_flags.parse(name, flags, switches, arguments), flag) == "x"
        for switch in switches:
            for argument, value in ((switch, True), (f"{switch}=true", True), (f"{switch}=false", False)):
                assert getattr(dropin_flags.parse(name, flags, switches, [dash + argument]), switch) is value


def test_a_switch_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(UsageError):
        dropin_flags.parse("worker", dropin_flags.WORKER, dropin_flags.SWITCHES, ["-enableDebugging=maybe"])


def test_a_value_may_hold_an_equals_sign():
    chosen = dropin_flags.parse("worker", dropin_flags.WORKER, dropin_flags.SWITCHES, ["-storageKey", "abc=="])
    assert chosen.storageKey == "abc=="


@pytest.fixture
def asked(monkeypatch):
    """Parses a manager's arguments and returns its fleet's kind, settings and launch, with no fleet opened."""

    def ask(*arguments):
        found = []

        def run_manager(chosen):
            settings = options.settings(chosen)
            with monkeypatch.context() as patch:
                patch.setattr("cachewarmer.fleet.open_fleet", lambda *of: found.append(of))
                options.fleet(chosen, settings)
            return 0

        monkeypatch.setattr("cachewarmer.cli.service.run_manager", run_manager)
        assert dropin.manager(["-storageAccountName=farm", "-queueNamePrefix=p", *arguments]) == 0
        return found[0]

    return ask


def test_a_managers_flags_describe_a_scale_set(asked):
    """Each flag reaches the setting that it names; the password also comes from the environment."""
    kind, settings, launch = asked(
        *("-storageAccountResourceGroup", "rg", "-workerCount=12", "-bootstrapMountAddress", "10.0.0.1"),
        *("-bootstrapExportPath=/boot", "-bootstrapScriptPath=/b/x.sh", "-vmssUserName", "td"),
        *("-vmssPassword=one two", "-vmssSshPublicKey=ssh-rsa AAAA td@host", "-vmssSubnetName", "farm"),
    )
    assert (kind, settings.workers, settings.vmss.user_name, settings.vmss.password) == ("vmss", 12, "td", "one two")
    assert (settings.vmss.ssh_public_key, settings.vmss.subnet_name) == ("ssh-rsa AAAA td@host", "farm")
    assert (launch.broker_url, launch.storage_resource_group) == ("azure://farm/p", "rg")
    assert launch.bootstrap_mount_address == "10.0.0.1"
    assert (launch.bootstrap_export_path, launch.bootstrap_script_path) == ("/boot", "/b/x.sh")


def test_the_service_passes_empty_values_and_the_password_by_the_environment(asked, monkeypatch):
    """As the unit's command line does: what is empty is not said, so that the defaults hold."""
    monkeypatch.setenv("VMSS_PASSWORD", "p4ss")
    empty = [f"-{flag}=" for flag in dropin_flags.MANAGER if flag not in ("storageAccountName", "queueNamePrefix")]
    assert asked(*empty)[0] == "none"
    kind, settings, _ = asked(*empty, "-workerCount=3")
    assert (kind, settings.workers, settings.vmss.user_name, settings.vmss.password) == ("vmss", 3, "azureuser", "p4ss")
    assert "p4ss" not in repr(settings)


def test_no_workers_leave_the_fleet_to_the_settings_file(asked, monkeypatch, tmp_path):
    """A service that is installed as it is may still run workers on its own machine."""
    config = tmp_path / "c.toml"
    config.write_text('[fleet]\nkind = "local"\nworkers = 4\n')
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(config))
    kind, settings, _ = asked("-workerCount=0")
    assert (kind, settings.workers) == ("local", 4)


@pytest.mark.parametrize("count", ["-1", "many", "1.5"])
def test_a_worker_count_that_is_no_number_is_refused(count):
    """Before anything is started."""
    with pytest.raises(UsageError, match="-workerCount must be a whole number"):
        dropin.manager(["-storageAccountName=farm", "-queueNamePrefix=p", f"-workerCount={count}"])


@pytest.mark.parametrize("value", ["-x", "--", "-storageKey", "-enableDebugging=maybe", "", "a b", "=", "--x=y"])
def test_a_value_may_look_like_a_flag(value):
    """As Go takes it: a password may begin with a dash."""
    for arguments in (["-vmssPassword", value], [f"--vmssPassword={value}"]):
        chosen = dropin_flags.parse(
            "manager", dropin_flags.MANAGER, dropin_flags.SWITCHES, [*arguments, "-queueNamePrefix", "p"]
        )
        assert (chosen.vmssPassword, chosen.queueNamePrefix) == (value, "p")


def test_a_flag_without_its_value_is_refused():
    with pytest.raises(UsageError, match="-storageKey needs a value"):
        dropin_flags.parse("worker", dropin_flags.WORKER, dropin_flags.SWITCHES, ["-storageKey"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-h"], 0, "-storageKey"),
        (["--help"], 0, "-storageKey"),
        (["-noSuchFlag", "x"], 2, "-noSuchFlag"),
        (["-storagekey=x"], 2, "-storagekey"),
        (["stray"], 2, "stray"),
        (["-enableDebugging", "true"], 2, "true"),
    ],
)
def test_what_is_no_flag_is_refused_and_help_is_given(arguments, code, said, capsys):
    """A stray word ends Go's parsing without a word; here it is an error, since the flags behind it would be lost."""
    with pytest.raises(SystemExit) as ended:
        dropin_flags.parse("worker", dropin_flags.WORKER, dropin_flags.SWITCHES, arguments)
    assert ended.value.code == code
    output = capsys.readouterr()
    assert said in (output.err if code else output.out)
