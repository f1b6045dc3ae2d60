"""The single-file program on a machine that has nothing."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cachewarmer import __version__
from tests.azure_standin.cloud import azure
from tests.azure_standin.fixtures import KEY
from tests.deploy.bundle import bundle
from tests.deploy.node_image import minimal_root, old_root
from tests.servers.need import need
from tests.servers.postgres import postgres

COMMANDS = ("cachewarmer", "cachewarmer-manager", "cachewarmer-worker", "cachewarmer-jobsubmitter")


@pytest.fixture(scope="module")
def bare_root(tmp_path_factory):
    """An old Debian of the essential packages alone, with the program and its links in it."""
    need(os.geteuid() == 0, "chroot needs root")
    root = tmp_path_factory.mktemp("bare") / "root"
    program = bundle()
    subprocess.run(["cp", "-a", old_root(), root], check=True)
    shutil.copy(program, root / "usr/local/bin/cachewarmer")
    for name in COMMANDS[1:]:
        (root / "usr/local/bin" / name).symlink_to("cachewarmer")
    return root


def inside(root, *command):
    return subprocess.run(["chroot", root, *command], capture_output=True, text=True, timeout=60, check=False)


def test_it_runs_where_there_is_no_python(bare_root):
    """And says the version of this checkout."""
    assert inside(bare_root, "sh", "-c", "command -v python3").returncode != 0
    done = inside(bare_root, "cachewarmer", "--version")
    assert (done.returncode, done.stdout) == (0, f"cachewarmer {__version__}\n"), done.stderr


def test_it_runs_on_the_debian_of_the_day_too(tmp_path):
    """A newer C library is no trouble."""
    need(os.geteuid() == 0, "chroot needs root")
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", minimal_root(), root], check=True)
    shutil.copy(bundle(), root / "usr/local/bin/cachewarmer")
    done = inside(root, "cachewarmer", "--version")
    assert (done.returncode, done.stdout) == (0, f"cachewarmer {__version__}\n"), done.stderr


def install(root, program):
    """Prepares a folder with this program in the root directory, and installs a worker from it there."""
    folder = root / "bootstrap"
    prepare = Path(__file__).parents[2] / "deploy/bootstrap/prepare.sh"
    subprocess.run(["sh", prepare, "--to", folder, "--executable", program], check=True, capture_output=True)
    environment = ("env", "STORAGE_ACCOUNT=account", "QUEUE_PREFIX=p")
    return inside(root, *environment, "sh", "/bootstrap/install.sh", "worker")


def test_it_is_installed_on_an_old_debian_and_one_that_does_not_run_there_is_not(tmp_path):
    """What was there before stays, then; the reason is the one that the dynamic linker gives."""
    need(os.geteuid() == 0, "chroot needs root")
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", old_root(), root], check=True)
    old = root / "usr/local/bin/cachewarmer-worker"
    old.write_text("#!/bin/sh\necho the old one\n")
    too_new = shutil.which("openssl")
    need(too_new, "openssl is not installed")
    done = install(root, too_new)
    assert done.returncode == 1
    assert "does not run on this machine, and nothing was replaced" in done.stderr
    assert old.read_text() == "#!/bin/sh\necho the old one\n"
    assert not (root / "etc/cachewarmer").exists()

    done = install(root, bundle())
    assert done.returncode == 0, done.stderr
    assert inside(root, "cachewarmer-worker", "-h").returncode == 0
    assert "cachewarmer" in (root / "etc/passwd").read_text()
    assert (root / "etc/systemd/system/cachewarmer-worker.service").exists()


def test_all_that_is_in_it_is_listed_with_its_licence(tmp_path):
    """In the program itself, and beside it: every part has a version, a licence and a hash."""
    bom, licences = bundle().with_name("sbom.cdx.json"), bundle().with_name("licenses.txt").read_text()
    parts = {one["name"]: one for one in json.loads(bom.read_text())["components"]}
    assert {
        "python3.11",
        "openssl",
        "sqlite3",
        "zlib",
        "libffi",
        "aiohttp",
        "azure-storage-queue",
        "uvloop",
        "pyinstaller",
        "psycopg-binary",
    } <= set(parts)
    for name, part in parts.items():
        assert part["version"]
        assert part["licenses"][0]["license"]["name"] != "not stated", name
        assert len(part["hashes"][0]["content"]) == 64
        assert f"\n{name} {part['version']}: " in licences
    assert b"licenses.txt" in bundle().read_bytes()


@pytest.mark.parametrize("name", COMMANDS[1:])
def test_it_is_the_command_that_it_is_called_by(bare_root, name):
    """Through a link it takes the first CacheWarmer's flags, and asks for those that are missing."""
    done = inside(bare_root, name, "-enableDebugging")
    assert done.returncode == 1, done.stderr
    assert "-storageAccountName" in done.stderr or "-warmTarget" in done.stderr


def test_it_warms_a_directory(bare_root):
    """The whole path of the data works in it: scan, broker, readers in processes of their own."""
    done = inside(
        bare_root, "cachewarmer", "warm", "/usr/share/perl5", "--processes", "2", "--broker", "sqlite:////b.db"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_speaks_to_the_storage_service(bare_root, azurite_connection):
    """The Azure SDK is in it."""
    account = azurite_connection.partition("AccountName=")[2].partition(";")[0]
    done = inside(
        bare_root,
        *("env", f"AZURE_STORAGE_CONNECTION_STRING={azurite_connection}"),
        *("cachewarmer", "status", "--broker", f"azure://{account}/bundle"),
    )
    assert done.returncode == 1
    assert "there is nothing at azure://" in done.stderr, "it asked"


def test_it_speaks_to_postgresql(bare_root):
    """The client library is in it."""
    with postgres() as server:
        done = inside(bare_root, "cachewarmer", "status", "--broker", server.url)
    assert done.returncode == 1
    assert "there is nothing at postgresql://" in done.stderr, "it asked"


def test_it_runs_a_fleet_of_itself(bare_root):
    """Its workers are the same file; they read everything, and are gone before it is."""
    (bare_root / "fleet.toml").write_text("[fleet]\nidle_seconds = 1.0\nlook_seconds = 0.2\n")
    broker = ("--broker", "sqlite:////fleet.db")
    done = inside(bare_root, "cachewarmer", "submit", "/usr/share/perl5", *broker)
    assert done.returncode == 0, done.stderr
    done = inside(
        bare_root,
        *("env", "CACHEWARMER_CONFIG=/fleet.toml", "cachewarmer", "manager", *broker),
        *("--fleet", "local", "--workers", "2", "--exit-when-idle", "4"),
    )
    assert done.returncode == 0, done.stderr
    assert "is completed" in done.stderr
    assert "VM-seconds" in done.stderr
    assert "evicted" not in done.stderr
    assert "failed" not in done.stderr


@pytest.mark.timeout(200)
def test_it_starts_a_scale_set(bare_root, azurite_connection):
    """The clients of the resource manager are in it, and the script that custom data carries."""
    (bare_root / "vmss.toml").write_text(
        f'[targets]\nallow_local = ["/usr"]\n[fleet]\nlook_seconds = 0.2\n[fleet.vmss]\nssh_public_key = "{KEY}"\n'
    )
    account = azurite_connection.partition("AccountName=")[2].partition(";")[0]
    broker = ("--broker", f"azure://{account}/bundled")
    bootstrap = ("--bootstrap-address", "10.0.1.7", "--bootstrap-export", "/b", "--bootstrap-script", "/b.sh")
    with azure() as cloud:
        shutil.copy(cloud.certificate, bare_root / "certificate")
        environment = cloud.environment | {
            "AZURE_STORAGE_CONNECTION_STRING": azurite_connection,
            "SSL_CERT_FILE": "/certificate",
            "CACHEWARMER_CONFIG": "/vmss.toml",
        }
        command = ("env", *(f"{name}={value}" for name, value in environment.items()), "cachewarmer")
        done = inside(bare_root, *command, "submit", "/usr/share/perl5", *broker)
        assert done.returncode == 0, done.stderr
        flags = ("--fleet", "vmss", "--workers", "2", "--exit-when-idle", "20")
        with subprocess.Popen(
            ["chroot", bare_root, *command, "manager", *broker, *bootstrap, *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as manager:
            deadline = time.monotonic() + 60
            while len(cloud.vms) < 2 and manager.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            manager.terminate()
            _, said = manager.communicate(timeout=60)
        assert "Unclosed" not in said
        (body,) = [body for method, _, body in cloud.arm.requests if method == "PUT"] or pytest.fail(said)
    custom = body["properties"]["virtualMachineProfile"]["osProfile"]["customData"]
    assert "mount_export" in base64.b64decode(custom).decode()
