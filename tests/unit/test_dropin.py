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
