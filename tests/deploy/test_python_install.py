"""The wheel in a Python of its own, as pipx and pip install it: with each extra, and nothing else of this machine's packages."""

import os
import pwd
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.deploy.bundle import wheel
from tests.servers.postgres import postgres

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FOR_US = {"bench", "bundle", "dev", "soak"}
"""What only those need who work on the program."""
FOR_USERS = sorted(set(EXTRAS) - FOR_US)
SCRIPTS = ("cachewarmer", "cachewarmer-jobsubmitter", "cachewarmer-manager", "cachewarmer-worker")
MODULES = {
    "azure": "cachewarmer.broker.azure.broker, cachewarmer.fleet.vmss.fleet",
    "postgres": "cachewarmer.broker.postgres.broker",
    "fast": "uvloop",
}
"""What an extra is for: it can be imported with it."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements):
    """The distributions that pip would install for these, as far as they are in this environment."""
    found, left = {}, [Requirement(text) for text in requirements]
    done = set()
    while left:
        one = left.pop()
        key = (normal(one.name), frozenset(one.extras))
        if key in done:
            continue
        done.add(key)
        if key[0] == "cachewarmer":
            left += [Requirement(text) for extra in one.extras for text in EXTRAS[extra]]
            continue
        found[key[0]] = dist = distribution(one.name)
        for text in dist.requires or []:
            inner = Requirement(text)
            wanted = one.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in wanted):
                left.append(inner)
    return found.values()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function: the directory of the commands of a new environment with the wheel and this extra."""
    made, built = {}, wheel()  # here, where it may take its time

    def make(extra):
        if extra in made:
            return made[extra]
        place = tmp_path_factory.mktemp("installed") / "env"
        venv.create(place, symlinks=True)
        python = place / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--disable-pip-version-check", built], check=True, capture_output=True, timeout=100)
        (site,) = place.glob("lib/python*/site-packages")
        for dist in closure(EXTRAS.get(extra, [])):
            for file in dist.files or []:
                top = file.parts[0]
                if top not in ("..", "__pycache__") and not (site / top).exists():
                    (site / top).symlink_to(dist.locate_file(top))
        made[extra] = python.parent
        return python.parent

    return make


def run(command, *arguments):
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment, cwd="/"
    )


def test_without_an_extra_it_warms_a_directory(installed, tmp_path):
    """Nothing beside Python is needed; all four commands are there."""
    commands = installed("")
    assert {name for name in os.listdir(commands) if name.startswith("cachewarmer")} == set(SCRIPTS)
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    done = run(commands / "cachewarmer", "warm", tmp_path, "--broker", f"sqlite:///{tmp_path}.db")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("broker", "extra"), [("postgresql://h/d", "postgres"), ("azure://account/p", "azure")])
def test_a_broker_whose_packages_are_missing_names_its_extra(installed, broker, extra):
    done = run(installed("") / "cachewarmer", "status", "--broker", broker)
    assert done.returncode in (1, 2)
    assert f"install cachewarmer[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("extra", FOR_USERS)
def test_each_extra_brings_all_that_it_needs(installed, extra):
    """Imported in an environment that has no other package."""
    wanted = ", ".join(MODULES.values()) if extra == "all" else MODULES.get(extra, "cachewarmer")
    done = run(installed(extra) / "python", "-W", "error", "-c", f"import {wanted}")
    assert done.returncode == 0, done.stderr


def test_all_is_every_extra_for_users():
    """One that is added is in it."""
    (all_of_them,) = (Requirement(text) for text in EXTRAS["all"])
    assert sorted({*all_of_them.extras, "all"}) == FOR_USERS


def test_the_page_names_every_extra():
    page = (ROOT / "docs/install.md").read_text()
    assert [extra for extra in FOR_USERS if f"| `{extra}` |" not in page] == []


# -- from nothing to a fleet ---------------------------------------------------------------------------------------

SUDO = """#!/bin/sh
# Whoever may do all; the server of the test takes its own superuser for "postgres".
[ "$1" = -u ] && [ "$2" = postgres ] && shift 2 && exec env PGUSER=warm "$@"
exec "$@"
"""
APT = """#!/bin/sh
# Both packages are "installed" already: the server runs, and the program is on the PATH.
[ "$*" = "install -y postgresql ./dist/cachewarmer_1_amd64.deb" ] || { echo "not what is expected: $*" >&2; exit 1; }
"""


def commands_of(page, heading):
    """The lines of the first block of commands below a heading."""
    text = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2]
    return text.split("```")[1].strip().splitlines()


def test_three_commands_lead_to_a_fleet_that_warms_a_tree(installed, tmp_path, nfs_root, nfs_server):
    """Those of the page, as they stand there but for the address: a manager and two workers over PostgreSQL."""
    commands = commands_of("install.md", "A fleet over PostgreSQL")
    assert len(commands) == 3
    tree = nfs_root / "three"
    tree.mkdir()
    for number in range(20):
        (tree / f"f{number}").write_bytes(b"x" * 5000)
    script = "\n".join(commands).replace("nfs://cache/projects/shot42", f"'{nfs_server.target('three')}'")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/cachewarmer_1_amd64.deb").touch()
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name, text in (("sudo", SUDO), ("apt-get", APT)):
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    with postgres() as server:
        environment = {
            "PATH": f"{stubs}:{installed('postgres')}:{server.programs}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "USER": pwd.getpwuid(os.geteuid()).pw_name,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
        }
        done = subprocess.run(
            ["bash", "-c", f"{script}\ncode=$?\nkill %1\nwait\nexit $code"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "create to 1: 1 item is left" in done.stderr, "a worker of the fleet read it, and not the manager"
    assert "WARNING" not in done.stderr
