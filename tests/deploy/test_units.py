"""What is installed, looked at without installing it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.need import need

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sorted(
    [
        *DEPLOY.glob("*.sh"),
        *(DEPLOY / "bootstrap").glob("*.sh"),
        *(DEPLOY / "terraform/examples/scripts").glob("*.sh"),
        DEPLOY / "bundle/build",
        DEPLOY / "deb/build",
        DEPLOY / "image/build",
        DEPLOY / "bundle/python",
        DEPLOY / "systemd/backoff",
    ]
)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_exposed_at_most_to_2_0(unit):
    """By systemd's own measure."""
    need(shutil.which("systemd-analyze"), "systemd is not installed")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_its_bounds_and_its_few_rights(unit):
    """No dump of what signs in, no machine taken down by a fault, a user of its own, and one capability."""
    lines = unit.read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", " ")))
    assert settings["LimitCORE"] == "0"
    assert 0 < int(settings["MemoryMax"].removesuffix("%")) < 100
    assert int(settings["TasksMax"]) > 0
    assert settings["User"] == "cachewarmer"
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert (settings["NoNewPrivileges"], settings["ProtectSystem"], settings["UMask"]) == ("yes", "strict", "0077")
    assert settings["StateDirectoryMode"] == "0700"
    assert "-/etc/cachewarmer/" in settings["EnvironmentFile"]
    assert settings["EnvironmentFile"].endswith(".secret.env")
    command = " ".join(lines[lines.index(next(one for one in lines if one.startswith("ExecStart="))) :][:12])
    assert "KEY" not in command.replace("SSHPUBLICKEY", "")
    assert "PASSWORD" not in command


def test_the_worker_and_its_template_differ_only_in_their_names():
    """Two files because systemd wants two; nothing else may differ."""
    one = (DEPLOY / "systemd/cachewarmer-worker.service").read_text()
    many = (DEPLOY / "systemd/cachewarmer-worker@.service").read_text()
    assert (
        many.replace("CacheWarmer worker %i", "CacheWarmer worker").replace(
            "cachewarmer-worker-%i", "cachewarmer-worker"
        )
        == one
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    """In any script that is installed or builds what is."""
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
