import pytest

from cachewarmer.cli import dropin
from cachewarmer.errors import UsageError

COMMANDS = [
    ("jobsubmitter", dropin.JOBSUBMITTER, dropin.JOBSUBMITTER_SWITCHES),
    ("manager", dropin.MANAGER, dropin.SWITCHES),
    ("worker", dropin.WORKER, dropin.SWITCHES),
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
                assert getattr(dropin.parse(name, flags, switches, arguments), flag) == "x"
        for switch in switches:
            for argument, value in ((switch, True), (f"{switch}=true", True), (f"{switch}=false", False)):
                assert getattr(dropin.parse(name, flags, switches, [dash + argument]), switch) is value


def test_a_switch_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(UsageError):
        dropin.parse("worker", dropin.WORKER, dropin.SWITCHES, ["-enableDebugging=maybe"])


def test_a_value_may_hold_an_equals_sign():
    chosen = dropin.parse("worker", dropin.WORKER, dropin.SWITCHES, ["-storageKey", "abc=="])
    assert chosen.storageKey == "abc=="


@pytest.mark.parametrize("value", ["-x", "--", "-storageKey", "-enableDebugging=maybe", "", "a b", "=", "--x=y"])
def test_a_value_may_look_like_a_flag(value):
    """As Go takes it: a password may begin with a dash."""
    for arguments in (["-vmssPassword", value], [f"--vmssPassword={value}"]):
        chosen = dropin.parse("manager", dropin.MANAGER, dropin.SWITCHES, [*arguments, "-queueNamePrefix", "p"])
        assert (chosen.vmssPassword, chosen.queueNamePrefix) == (value, "p")


def test_a_flag_without_its_value_is_refused():
    with pytest.raises(UsageError, match="-storageKey needs a value"):
        dropin.parse("worker", dropin.WORKER, dropin.SWITCHES, ["-storageKey"])


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
        dropin.parse("worker", dropin.WORKER, dropin.SWITCHES, arguments)
    assert ended.value.code == code
    output = capsys.readouterr()
    assert said in (output.err if code else output.out)
