"""The bootstrap folder, prepared and installed from on a machine with systemd, against Azurite."""

import json
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest

from cachewarmer.config import VmssSettings
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.vmss.cloud_init import assignments, launch_values
from tests.deploy.bundle import bundle
from tests.deploy.node import node
from tests.servers.ports import NO_IMDS
from tests.servers.postgres import postgres

DEPLOY = Path(__file__).parents[2] / "deploy"
ODD = """it's "odd" \\ $HOME `id` /a b/"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared bootstrap folder."""
    made = tmp_path_factory.mktemp("bootstrap")
    prepare(made)
    return made


def prepare(to):
    subprocess.run(["sh", DEPLOY / "bootstrap/prepare.sh", "--to", to, "--executable", bundle()], check=True)


@pytest.fixture(scope="module")
def machine(folder):
    """A node on which the folder is at /bootstrap."""
    with node(binds={folder: "/bootstrap"}) as started:
        yield started


@pytest.fixture
def environment(azurite_connection):
    account = azurite_connection.partition("AccountName=")[2].partition(";")[0]
    return {
        "STORAGE_ACCOUNT": account,
        "QUEUE_PREFIX": "boot",
        "AZURE_STORAGE_CONNECTION_STRING": azurite_connection,
        "BOOTSTRAP_PATH": "/bootstrap",
        "CACHEWARMER_IMDS_URL": NO_IMDS,
        "VMSS_WORKER_COUNT": "0",
    }


def active(machine, unit):
    return machine.run(f"systemctl is-active {unit}", check=False).stdout.strip()


def variables(machine, unit):
    """The environment of a unit's main process."""
    pid = machine.run(f"systemctl show -P MainPID {unit}").stdout.strip()
    raw = machine.run(f"tr '\\0' '\\n' </proc/{pid}/environ").stdout
    return dict(line.split("=", 1) for line in raw.splitlines() if "=" in line)


@pytest.mark.timeout(300)
def test_manager_and_worker_from_the_folder_to_their_removal(machine, environment, nfs_server, nfs_root):
    """Both come up under systemd and warm a job; installed again nothing restarts; at the end nothing is left."""
    before = listing(machine)
    odd = environment | {
        "BOOTSTRAP_SCRIPT": ODD,
        "VMSS_USERNAME": "o'brien",
        "VMSS_PASSWORD": 'p"w$`\\ x',
        "VMSS_WORKER_COUNT": "0",
    }
    machine.run("sh /bootstrap/bootstrap.cachewarmer-manager.sh", environment=odd)
    machine.run("sh /bootstrap/bootstrap.cachewarmer-worker.sh", environment=environment)
    for unit in ("cachewarmer-manager", "cachewarmer-worker"):
        assert active(machine, unit) == "active", machine.run(f"journalctl -u {unit} --no-pager", check=False).stdout

    # Odd values survive; secrets are root's alone, and on no command line.
    held = variables(machine, "cachewarmer-manager")
    assert (held["BOOTSTRAP_SCRIPT"], held["VMSS_USERNAME"], held["VMSS_PASSWORD"]) == (ODD, "o'brien", 'p"w$`\\ x')
    key = environment["AZURE_STORAGE_CONNECTION_STRING"].partition("AccountKey=")[2].partition(";")[0]
    assert machine.run("stat -c '%U %a' /etc/cachewarmer/*.secret.env").stdout == "root 600\nroot 600\n"
    lines = machine.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False).stdout
    assert key not in lines
    assert 'p"w$' not in lines
    assert key not in machine.run("cat /etc/cachewarmer/manager.env /etc/cachewarmer/worker.env").stdout
    assert machine.run(
        "ps -o user= -C cachewarmer-manager,cachewarmer-worker | sort -u", check=False
    ).stdout.split() in (
        ["cachewar+"],
        ["cachewarmer"],
        [],
    )

    # They do their work.
    tree = nfs_root / "bootstrapped"
    tree.mkdir()
    for number in range(20):
        (tree / f"f{number}").write_bytes(bytes(1000))
    (tree / "f0").chmod(0)  # for root alone, who they are on the wire
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cachewarmer", "submit", nfs_server.target("/bootstrapped"), "--wait", "--json"),
            *("--broker", f"azure://{environment['STORAGE_ACCOUNT']}/boot"),
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "AZURE_STORAGE_CONNECTION_STRING": environment["AZURE_STORAGE_CONNECTION_STRING"],
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    logs = machine.run("journalctl -u 'cachewarmer-*' --no-pager", check=False).stdout
    assert done.returncode == 0, done.stderr + logs
    assert json.loads(done.stdout)["files"] == 20
    assert key not in logs

    # A second run changes nothing; a killed service comes back; another count of workers takes over.
    pid = machine.run("systemctl show -P MainPID cachewarmer-worker").stdout
    machine.run("sh /bootstrap/bootstrap.cachewarmer-worker.sh", environment=environment)
    assert machine.run("systemctl show -P MainPID cachewarmer-worker").stdout == pid
    machine.run(f"kill -9 {pid.strip()}")
    wait(lambda: active(machine, "cachewarmer-worker") == "active")
    assert machine.run("systemctl show -P MainPID cachewarmer-worker").stdout != pid
    machine.run(
        "sh /bootstrap/bootstrap.cachewarmer-worker.sh", environment=environment | {"CACHEWARMER_WORKERS_PER_HOST": "2"}
    )
    assert [active(machine, f"cachewarmer-worker{one}") for one in ("@1", "@2", "")] == ["active", "active", "inactive"]

    machine.run("/usr/local/lib/cachewarmer/remove worker && sh /bootstrap/remove.sh manager", seconds=150)
    assert listing(machine) == before


@pytest.fixture(scope="module")
def database():
    with postgres() as server:
        yield server


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_any_broker_drives_the_services(machine, database, kind, nfs_server, nfs_root):
    """``CACHEWARMER_BROKER`` alone: systemd runs today's command with it, for manager and two workers, which warm a job. The
    password is root's and theirs. Nothing restarts when that is done again, and nothing is left at the end.
    """
    url = {
        "postgresql": database.url.replace("warm@", "warm:s%24cret-PW@"),
        "sqlite": "sqlite:////var/lib/cachewarmer/queue.db",
    }[kind]
    given = {"CACHEWARMER_BROKER": url, "CACHEWARMER_OPTIONS": "-v", "CACHEWARMER_WORKERS_PER_HOST": "2"}
    units = ("cachewarmer-manager", "cachewarmer-worker@1", "cachewarmer-worker@2")
    before = listing(machine)
    pids = []
    for _ in range(2):
        for role in ("manager", "worker"):
            machine.run(f"sh /bootstrap/bootstrap.cachewarmer-{role}.sh", environment=given)
        pids.append(machine.run(f"systemctl show -P MainPID {' '.join(units)}").stdout.split())
    assert pids[0] == pids[1]
    for unit in units:
        assert active(machine, unit) == "active"
        held = variables(machine, unit)
        assert held["CACHEWARMER_BROKER"] == url
        role = "manager" if "manager" in unit else "worker"
        line = machine.run(f"tr '\\0' ' ' </proc/$(systemctl show -P MainPID {unit})/cmdline").stdout
        assert line.strip() == f"/usr/local/bin/cachewarmer {role} -v"

    tree = nfs_root / f"any-{kind}"
    tree.mkdir()
    for number in range(20):
        (tree / f"f{number}").write_bytes(bytes(1000))
    (tree / "f0").chmod(0)
    done = machine.run(
        f"runuser -u cachewarmer -- cachewarmer submit '{nfs_server.target(f'/any-{kind}')}' --wait --json",
        environment={"CACHEWARMER_BROKER": url, "HOME": "/var/lib/cachewarmer"},
    )
    report = json.loads(done.stdout)
    assert (report["state"], report["files"], report["failed_files"]) == ("completed", 20, 0)
    logs = machine.run("journalctl -u 'cachewarmer-*' --no-pager", check=False).stdout
    seen = (
        logs + machine.run("cat /proc/[0-9]*/cmdline /etc/systemd/system/cachewarmer* 2>/dev/null", check=False).stdout
    )
    assert "cret-PW" not in seen
    machine.run("sh /bootstrap/remove.sh all", seconds=150)
    assert listing(machine) == before


@pytest.mark.timeout(200)
def test_a_new_vm_makes_itself_a_worker(machine, environment):
    """What cloud-init runs on it: the folder's own script, from a mount, with the identity's name and no key; under systemd
    the worker runs, and of the launch nothing is left but its log.
    """
    values = launch_values(
        WorkerLaunch(
            broker_url=f"azure://{environment['STORAGE_ACCOUNT']}/boot",
            bootstrap_mount_address="127.0.0.1",
            bootstrap_export_path="/bootstrap",
            bootstrap_script_path="/bootstrap.cachewarmer-worker.sh",
        ),
        VmssSettings(),
        client_id="me",
        proxy={"no_proxy": ODD},
    )
    script = resources.files("cachewarmer.fleet.vmss").joinpath("launch.sh").read_text()
    before = listing(machine)
    machine.run("mkdir -p /root/launch && cat >/root/launch/launch", stdin=script)
    machine.run("cat >/root/launch/launch.env", stdin=assignments(values))
    machine.run(
        "cat >/sbin/mount.nfs; chmod 755 /sbin/mount.nfs",
        stdin='#!/bin/sh\n[ "$1" = 127.0.0.1:/bootstrap ] && exec mount --bind /bootstrap "$2"',
    )
    name = "AZURE_STORAGE_CONNECTION_STRING"  # an image of one's own may set it; Azurite knows no identities
    done = machine.run("sh /root/launch/launch", environment={name: environment[name]}, check=False)
    log = machine.run("cat /var/log/cachewarmer-bootstrap.log; rm /sbin/mount.nfs", check=False).stdout
    assert done.returncode == 0, log
    assert active(machine, "cachewarmer-worker") == "active"
    held = variables(machine, "cachewarmer-worker")
    assert (held["STORAGE_ACCOUNT"], held["QUEUE_PREFIX"]) == (environment["STORAGE_ACCOUNT"], "boot")
    assert (held["AZURE_CLIENT_ID"], held["no_proxy"]) == ("me", ODD)
    assert "worker installed from /mnt/cachewarmer-bootstrap" in log
    assert machine.run("ls /root/launch; grep -c bootstrap /proc/mounts; ls /mnt", check=False).stdout == "launch\n1\n"
    machine.run("/usr/local/lib/cachewarmer/remove worker; rm -r /root/launch /var/log/cachewarmer-bootstrap.log")
    assert listing(machine) == before


def wait(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def listing(machine):
    """Units, users and files that an installation could leave behind."""
    return machine.run(
        "ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants /usr/local/bin /usr/local/lib /etc /var/lib "
        "/etc/rsyslog.d /etc/logrotate.d; cut -d: -f1 /etc/passwd /etc/group"
    ).stdout


def test_what_is_missing_is_said(machine):
    """Before anything is installed."""
    done = machine.run("sh /bootstrap/bootstrap.cachewarmer-worker.sh", check=False, environment={"QUEUE_PREFIX": "p"})
    assert done.returncode == 1
    assert "neither CACHEWARMER_BROKER nor STORAGE_ACCOUNT is set" in done.stderr


def test_a_damaged_folder_installs_nothing(machine, folder, environment, tmp_path):
    """The checksums are looked at first."""
    copy = folder / "damaged"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("damaged"))
    with (copy / "cachewarmer").open("ab") as program:
        program.write(b"x")
    done = machine.run("sh /bootstrap/damaged/bootstrap.cachewarmer-worker.sh", check=False, environment=environment)
    shutil.rmtree(copy)
    assert done.returncode == 1
    assert "SHA256SUMS" in done.stderr
    assert machine.run("ls /usr/local/bin").stdout == ""


FIRST_PROGRAM = """#!/bin/sh
exec sleep 100000
"""
FIRST_UNIT = """[Unit]
Description=CacheWarmer of the first generation
[Service]
User=root
ExecStart=/usr/local/bin/cachewarmer-{role} -vmssPassword 'S3cret-of-old'
Restart=always
[Install]
WantedBy=multi-user.target
"""


def lay_down_the_first_generation(machine, role, number):
    """What its bootstrap script leaves behind, running."""
    unit = f"/lib/systemd/system/cachewarmer-{role}.service"
    rule = f"/etc/rsyslog.d/{number}-cachewarmer-{role}.conf"
    machine.run(f"cat >/usr/local/bin/cachewarmer-{role}", stdin=FIRST_PROGRAM)
    machine.run(f"chmod 755 /usr/local/bin/cachewarmer-{role}")
    machine.run(f"cat >{unit}", stdin=FIRST_UNIT.format(role=role))
    machine.run(f"cat >{rule}", stdin=f"if $programname == 'cachewarmer-{role}' then /var/log/cachewarmer-{role}.log")
    machine.run("cat >>/etc/logrotate.d/rsyslog", stdin=f"/var/log/cachewarmer-{role}.log\n{{\n  daily\n}}")
    listener = r"""sed -i 's/^#\(module(load="imtcp")\|input(type="imtcp" port="514")\)/\1/' /etc/rsyslog.conf"""
    machine.run(f"{listener}; systemctl daemon-reload; systemctl restart rsyslog")
    machine.run(f"systemctl enable --now cachewarmer-{role}")


@pytest.mark.timeout(300)
def test_an_upgrade_in_place_from_the_first_generation(machine, environment):
    """Its services, as root from /lib, become ours; no rule, listener, stanza or password of it is left, then nor of ours."""
    before = listing(machine)
    for role, number in (("manager", 35), ("worker", 36)):
        lay_down_the_first_generation(machine, role, number)
        assert active(machine, f"cachewarmer-{role}") == "active"
    for role in ("manager", "worker"):
        machine.run(f"sh /bootstrap/bootstrap.cachewarmer-{role}.sh", environment=environment)
        unit = machine.run(f"systemctl show -P FragmentPath -P User -P ActiveState cachewarmer-{role}").stdout.split()
        assert set(unit) == {f"/etc/systemd/system/cachewarmer-{role}.service", "cachewarmer", "active"}
        assert machine.run(f"systemctl is-enabled cachewarmer-{role}").stdout.strip() == "enabled"
        held = variables(machine, f"cachewarmer-{role}")
        assert (held["CACHEWARMER_NFS_UID"], held["CACHEWARMER_NFS_GID"]) == ("0", "0")
    assert machine.run("pgrep -f 'sleep 100000'", check=False).stdout == ""
    places = "/etc /lib/systemd /usr/lib/systemd /usr/local"
    assert machine.run(f"grep -rl S3cret-of-old {places}", check=False).stdout == ""
    assert machine.run("ls /etc/rsyslog.d").stdout.split() == ["40-cachewarmer.conf"]
    assert machine.run("grep -c '^[a-z].*imtcp' /etc/rsyslog.conf", check=False).stdout.strip() == "0"
    assert machine.run("grep -c cachewarmer /etc/logrotate.d/rsyslog", check=False).stdout.strip() == "0"
    machine.run("sh /bootstrap/remove.sh all")
    assert [line for line in listing(machine) if line not in before] == []
