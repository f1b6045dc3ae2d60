"""A fleet is chosen by its kind; what makes no sense is refused in one line, before anything is started."""

from dataclasses import replace

import pytest

from cachewarmer.config import FleetSettings, VmssSettings
from cachewarmer.errors import UsageError
from cachewarmer.fleet import open_fleet
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.local import LocalFleet

SETTINGS = FleetSettings(workers=5, vmss=VmssSettings(ssh_public_key="ssh-ed25519 AAAA"))
LAUNCH = WorkerLaunch(
    broker_url="azure://farm/p",
    bootstrap_mount_address="10.0.0.1",
    bootstrap_export_path="/boot",
    bootstrap_script_path="/boot.sh",
)


def given(workers=5, **scale_set):
    """The settings with these changes."""
    return replace(SETTINGS, workers=workers, vmss=replace(SETTINGS.vmss, **scale_set))


def test_none_is_none():
    """As is any kind with no worker."""
    assert open_fleet("none", SETTINGS, LAUNCH) is None
    assert open_fleet("local", replace(SETTINGS, workers=0), LAUNCH) is None


def test_local_needs_nothing_but_a_broker():
    """Any broker that this machine reaches."""
    assert isinstance(open_fleet("local", SETTINGS, WorkerLaunch(broker_url="sqlite:////x/b.db")), LocalFleet)


@pytest.mark.parametrize(
    ("settings", "launch", "complaint"),
    [
        ({}, {"broker_url": "sqlite:////x/b.db"}, "VMs can't reach the broker sqlite:////x/b.db"),
        ({}, {"bootstrap_mount_address": ""}, "give its mount address$"),
        ({}, {"bootstrap_export_path": "", "bootstrap_script_path": ""}, "give its export path, script path$"),
        ({"ssh_public_key": ""}, {}, "SSH public key, or a password in VMSS_PASSWORD"),
        ({"workers": 1001}, {}, "at most 1000 VMs"),
        ({"vm_sizes": " , "}, {}, "at least one VM size"),
        ({"orchestration": "Both"}, {}, "'Both': give Flexible or Uniform"),
    ],
)
def test_a_scale_set_that_makes_no_sense_is_refused(settings, launch, complaint):
    """With what is missing or wrong."""
    with pytest.raises(UsageError, match=complaint):
        open_fleet("vmss", given(**settings), replace(LAUNCH, **launch))


def test_an_unknown_kind_is_refused():
    """The known ones are named."""
    with pytest.raises(UsageError, match="none, local, slurm, vmss"):
        open_fleet("aws", SETTINGS, LAUNCH)
