"""The values that custom data carries, and how they are written."""

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import VmssSettings
from cachewarmer.errors import ConfigError
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.vmss.cloud_init import assignments, custom_data, launch_values

LAUNCH = WorkerLaunch(
    broker_url="azure://account/prefix",
    storage_resource_group="storage",
    bootstrap_mount_address="10.0.1.7",
    bootstrap_export_path="/bootstrap",
    bootstrap_script_path="/scripts/bootstrap.sh",
)


def values(launch=LAUNCH, settings=VmssSettings(), client_id="", **proxy):  # noqa: B008
    return launch_values(launch, settings, client_id=client_id, proxy=proxy)


def test_the_names_are_the_first_cachewarmers(monkeypatch):
    """Account, prefix, resource group and script, as its bootstrap scripts read them; what is empty is left out."""
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    assert values(client_id="me") == {
        "STORAGE_ACCOUNT": "account",
        "STORAGE_ACCOUNT_RESOURCE_GROUP": "storage",
        "QUEUE_PREFIX": "prefix",
        "BOOTSTRAP_MOUNT_ADDRESS": "10.0.1.7",
        "BOOTSTRAP_EXPORT_PATH": "/bootstrap",
        "BOOTSTRAP_SCRIPT": "scripts/bootstrap.sh",
        "AZURE_CLIENT_ID": "me",
        "AZURE_SUBSCRIPTION_ID": "sub",
        "AZURE_STORAGE_ENDPOINT_SUFFIX": "core.windows.net",
    }


def test_each_proxy_goes_to_its_own_variable():
    """And the metadata service is never asked through one."""
    given = values(http_proxy="http://a:1", https_proxy="http://b:2", no_proxy="10.0.0.0/8")
    assert (given["http_proxy"], given["https_proxy"]) == ("http://a:1", "http://b:2")
    assert given["no_proxy"] == "10.0.0.0/8,169.254.169.254"
    only = values(https_proxy="http://b:2")
    assert "http_proxy" not in only
    assert only["no_proxy"] == "169.254.169.254"
    assert "no_proxy" not in values()


def test_a_key_and_the_internet_only_when_asked_for():
    """Neither is in the custom data otherwise."""
    asked = values(settings=VmssSettings(worker_key="c2VjcmV0", allow_internet=True))
    assert (asked["STORAGE_KEY"], asked["CACHEWARMER_ALLOW_INTERNET"]) == ("c2VjcmV0", "1")
    assert not {"STORAGE_KEY", "CACHEWARMER_ALLOW_INTERNET"} & set(values())


@pytest.mark.parametrize("part", ["bootstrap_mount_address", "bootstrap_export_path", "bootstrap_script_path"])
def test_the_bootstrap_folder_must_be_named(part):
    """A machine without it would cost money and do nothing."""
    with pytest.raises(ConfigError, match="where their bootstrap script is"):
        custom_data(replace(LAUNCH, **{part: ""}), VmssSettings(), proxy={})


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_comes_out_of_a_shell_as_it_went_in(value):
    """Quotes, spaces, dollars, line breaks, anything but NUL."""
    script = assignments({"VALUE": value}).encode() + b'printf %s "$VALUE"x\n'
    done = subprocess.run(["sh"], input=script, capture_output=True, check=True, timeout=20)
    assert done.stdout == value.encode() + b"x"


def test_nul_is_refused():
    """No variable can hold it."""
    with pytest.raises(ConfigError, match="A can't hold a NUL"):
        assignments({"A": "x\0y"})
