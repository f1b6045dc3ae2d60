"""What ``install.sh`` does before it replaces anything, and what it takes away, in a root directory of its own.

The program is a script that says its version: what runs on a machine is for the tests with real machines.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.need import need

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKER = {"STORAGE_ACCOUNT": "account", "QUEUE_PREFIX": "p"}
MANAGER = WORKER | {"VMSS_WORKER_COUNT": "0"}
VMS = {
    "BOOTSTRAP_MOUNT_ADDRESS": "10.0.0.4",
    "BOOTSTRAP_EXPORT_PATH": "/data",
    "BOOTSTRAP_SCRIPT": "/bootstrap/bootstrap.cachewarmer-worker.sh",
}
OLD_RSYSLOG = """module(load="imuxsock")
module(load="imtcp")
input(type="imtcp" port="514")
#module(load="imudp")
"""
OLD_STANZA = """/var/log/syslog
{
	rotate 7
}
/var/log/cachewarmer-{role}.log
{{
        rotate 2
        daily
        postrotate
                /usr/lib/rsyslog/rsyslog-rotate
        endscript
}}
/var/log/mail.log
{
	rotate 4
}
"""


@pytest.fixture(autouse=True)
def _as_root():
    need(os.geteuid() == 0, "install.sh must run as root")


@pytest.fixture
def folder(tmp_path):
    """Prepares a bootstrap folder with a program of this text."""

    def prepare(program="#!/bin/sh\necho cachewarmer 9.9\n"):
        executable = tmp_path / "program"
        executable.write_text(program)
        made = tmp_path / "folder"
        subprocess.run(
            ["sh", DEPLOY / "bootstrap/prepare.sh", "--to", made, "--executable", executable],
            check=True,
            capture_output=True,
        )
        return made

    return prepare


@pytest.fixture
def root(tmp_path):
    """An empty root directory with rsyslog and logrotate, and the first CacheWarmer installed on it."""
    made = tmp_path / "root"
    for name in ("etc/rsyslog.d", "etc/logrotate.d", "usr/local/bin", "lib/systemd/system", "var/log"):
        (made / name).mkdir(parents=True)
    return made


def first_generation(root, role):
    """What its bootstrap script of that role leaves behind."""
    (root / f"usr/local/bin/cachewarmer-{role}").write_text("old")
    unit = root / f"lib/systemd/system/cachewarmer-{role}.service"
    unit.write_text("[Service]\nExecStart=/usr/local/bin/cachewarmer-manager -vmssPassword 'S3cret'\n")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit.name).symlink_to(f"/lib/systemd/system/{unit.name}")
    number = {"manager": "35", "worker": "36"}[role]
    (root / f"etc/rsyslog.d/{number}-cachewarmer-{role}.conf").write_text(
        f"if $programname == 'x' then /var/log/{role}\n"
    )
    (root / "etc/rsyslog.conf").write_text(OLD_RSYSLOG)
    stanzas = root / "etc/logrotate.d/rsyslog"
    before, stanza, after = (
        OLD_STANZA.partition("/var/log/cachewarmer")[0],
        OLD_STANZA,
        OLD_STANZA.rpartition("}}\n")[2],
    )
    middle = stanza[len(before) : -len(after)].format(role=role)
    stanzas.write_text((stanzas.read_text() if stanzas.exists() else before + after) + middle)
    (root / f"var/log/cachewarmer-{role}.log").write_text("old lines\n")


def install(folder, root, role, environment):
    """Runs the folder's install.sh for this root; returns how it ended."""
    return subprocess.run(
        ["sh", folder / "install.sh", role],
        env={"PATH": os.environ["PATH"], "CACHEWARMER_ROOT": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def contents(root):
    """Every file below, with what is in it."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def environment_of(root, role):
    return (root / f"etc/cachewarmer/{role}.env").read_text()


@pytest.mark.parametrize(
    "program",
    ["#!/bin/sh\necho \"version 'GLIBC_2.36' not found\" >&2\nexit 1\n", "#!/no/such/interpreter\n"],
    ids=["it fails", "it can't even start"],
)
def test_a_program_that_does_not_run_here_replaces_nothing(folder, root, program):
    """The old ones go on working, and the line says why."""
    first_generation(root, "worker")
    before = contents(root)
    done = install(folder(program), root, "worker", WORKER)
    assert done.returncode == 1
    assert "does not run on this machine, and nothing was replaced" in done.stderr
    assert "GLIBC_2.36" in done.stderr or "not found" in done.stderr
    assert contents(root) == before


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "BOOTSTRAP_MOUNT_ADDRESS is not set, which the 12 workers"),
        ({"VMSS_WORKER_COUNT": "3"}, "BOOTSTRAP_MOUNT_ADDRESS is not set, which the 3 workers"),
        (VMS, "neither VMSS_SSHPUBLICKEY nor VMSS_PASSWORD"),
        ({"VMSS_WORKER_COUNT": "many"}, "VMSS_WORKER_COUNT must be a number"),
        (
            {"VMSS_WORKER_COUNT": "0", "BOOTSTRAP_SHA256": "0" * 64},
            "is not the file that this installation was told to expect",
        ),
    ],
)
def test_a_manager_that_could_not_start_is_not_installed(folder, root, environment, said):
    """12 workers are the default, as they were; what they need is asked for before anything is replaced."""
    first_generation(root, "manager")
    before = contents(root)
    done = install(folder(), root, "manager", WORKER | environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert contents(root) == before


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"VMSS_WORKER_COUNT": "0"}, 'VMSS_WORKER_COUNT="0"'),
        ({**VMS, "VMSS_PASSWORD": "p"}, 'VMSS_WORKER_COUNT=""'),
        ({**VMS, "VMSS_PASSWORD": "p", "VMSS_WORKER_COUNT": "7"}, 'VMSS_WORKER_COUNT="7"'),
        ({"CACHEWARMER_SETTINGS": '[fleet]\nkind = "local"\nworkers = 2\n'}, 'VMSS_WORKER_COUNT=""'),
    ],
)
def test_the_worker_count_is_passed_on_or_left_to_the_program(folder, root, environment, line):
    """Whose default it is, unless the settings describe another fleet."""
    done = install(folder(), root, "manager", WORKER | environment)
    assert done.returncode == 0, done.stderr
    assert line in environment_of(root, "manager").splitlines()


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_any_broker_will_do(folder, root, role):
    """The service runs the command of today with the URL, which only root may read; without it, the storage account's again."""
    url = "postgresql://warm:s$cret@db/warm"
    given = {"CACHEWARMER_BROKER": url, "CACHEWARMER_OPTIONS": "--window 8"}
    made = folder()
    done = install(made, root, role, given)
    assert done.returncode == 0, done.stderr
    secret = root / f"etc/cachewarmer/{role}.secret.env"
    assert 'CACHEWARMER_BROKER="postgresql://warm:s\\$cret@db/warm"' in secret.read_text()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert 'CACHEWARMER_OPTIONS="--window 8"' in environment_of(root, role).splitlines()
    units = root / "etc/systemd/system"
    dropins = list(units.glob("*.service.d/broker.conf"))
    assert len(dropins) == len(list(units.glob("*.service")))
    for dropin in dropins:
        assert dropin.read_text().splitlines()[1:] == [
            "[Service]",
            "ExecStart=",
            f"ExecStart=/usr/local/bin/cachewarmer {role} $CACHEWARMER_OPTIONS",
        ]
    assert "s$cret" not in "".join(path.read_text() for path in units.rglob("*") if path.is_file())
    assert install(made, root, role, {**WORKER, "VMSS_WORKER_COUNT": "0"}).returncode == 0
    assert not list(units.glob("*.service.d"))
    assert "CACHEWARMER_BROKER" not in secret.read_text()


def test_the_services_read_as_root_on_the_wire_unless_told(folder, root):
    """As the first CacheWarmer's did; ``own`` is the user that they run as."""
    made = folder()
    assert install(made, root, "worker", WORKER).returncode == 0
    assert {'CACHEWARMER_NFS_UID="0"', 'CACHEWARMER_NFS_GID="0"'} <= set(environment_of(root, "worker").splitlines())
    assert (
        install(
            made, root, "worker", WORKER | {"CACHEWARMER_NFS_UID": "1000", "CACHEWARMER_NFS_GIDS": "5,6"}
        ).returncode
        == 0
    )
    assert {'CACHEWARMER_NFS_UID="1000"', 'CACHEWARMER_NFS_GIDS="5,6"'} <= set(
        environment_of(root, "worker").splitlines()
    )
    assert install(made, root, "worker", WORKER | {"CACHEWARMER_NFS_UID": "own"}).returncode == 0
    assert "CACHEWARMER_NFS" not in environment_of(root, "worker")


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_what_the_first_cachewarmer_left_is_taken_away(folder, root, role):
    """Unit, password and all; rule, stanza and listener. What is not its own stays, and twice is once."""
    first_generation(root, role)
    made = folder()
    done = install(made, root, role, MANAGER)
    assert done.returncode == 0, done.stderr
    left = contents(root)
    assert not [name for name in left if name.startswith(("lib/", "etc/rsyslog.d/3"))]
    assert not [name for name, text in left.items() if isinstance(text, bytes) and b"S3cret" in text]
    assert (
        left["etc/logrotate.d/rsyslog"] == b"/var/log/syslog\n{\n\trotate 7\n}\n/var/log/mail.log\n{\n\trotate 4\n}\n"
    )
    assert left["etc/rsyslog.conf"].splitlines()[1:3] == [b'#module(load="imtcp")', b'#input(type="imtcp" port="514")']
    assert left["etc/rsyslog.conf"].splitlines()[0] == b'module(load="imuxsock")'
    assert left[f"usr/local/bin/cachewarmer-{role}"] == "cachewarmer"
    assert f"etc/systemd/system/multi-user.target.wants/cachewarmer-{role}.service" not in left
    assert install(made, root, role, MANAGER).returncode == 0
    assert contents(root) == left


def test_the_listener_stays_while_the_other_role_is_the_old_one(folder, root):
    """It logs through it still."""
    first_generation(root, "manager")
    first_generation(root, "worker")
    assert install(folder(), root, "worker", WORKER).returncode == 0
    assert (root / "etc/rsyslog.conf").read_text() == OLD_RSYSLOG
    assert "/var/log/cachewarmer-manager.log\n" in (root / "etc/logrotate.d/rsyslog").read_text()
    assert (root / "lib/systemd/system/cachewarmer-manager.service").exists()


def test_removal_takes_the_first_generation_away_too(folder, root):
    """Also where it came back after our installation, and its log."""
    made = folder()
    assert install(made, root, "worker", WORKER).returncode == 0
    first_generation(root, "worker")
    done = subprocess.run(
        ["sh", root / "usr/local/lib/cachewarmer/remove", "all"],
        env={"PATH": os.environ["PATH"], "CACHEWARMER_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(contents(root)) == ["etc/logrotate.d/rsyslog", "etc/rsyslog.conf"]


def test_the_sum_that_is_told_is_the_folders(folder, root):
    """Prepared again, it is the same; the manager passes it on to its workers."""
    made = folder()
    known = hashlib.sha256((made / "SHA256SUMS").read_bytes()).hexdigest()
    done = install(made, root, "manager", MANAGER | {"BOOTSTRAP_SHA256": known})
    assert done.returncode == 0, done.stderr
    assert f'BOOTSTRAP_SHA256="{known}"' in environment_of(root, "manager").splitlines()


# -- what removes the bootstrap folder, as root, from a share that others may write to ---------------------------------


def remove_folder(top, **environment):
    """Terraform's removal script, as it puts it together."""
    scripts = DEPLOY / "terraform/modules/remote_script/scripts"
    text = "".join((scripts / name).read_text() for name in ("prologue.sh", "folder.sh", "remove_folder.sh"))
    return subprocess.run(
        ["sh", "-s"],
        input=text,
        env={
            "PATH": os.environ["PATH"],
            "BOOTSTRAP_EXPORT_PATH": str(top),
            "BOOTSTRAP_SUBDIR": "/bootstrap",
            "REMOVING": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "listed",
    [
        "{victim}",
        "../../victim/precious",
        "./../../victim/precious",
        "systemd/../../../victim/precious",
        "deep/file",
        ".",
    ],
)
def test_a_list_of_checksums_can_t_name_files_elsewhere(tmp_path, folder, listed):
    """What it names in vain is said; what is ours goes."""
    victim = tmp_path / "victim/precious"
    victim.parent.mkdir()
    victim.write_text("precious")
    top = tmp_path / "share"
    shutil.copytree(folder(), top / "bootstrap")
    (top / "bootstrap/deep").mkdir()
    (top / "bootstrap/deep/file").write_text("somebody's")
    with (top / "bootstrap/SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {listed.format(victim=victim)}\n")
    done = remove_folder(top)
    assert done.returncode == 0, done.stderr
    assert "left alone" in done.stderr
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in (top / "bootstrap").iterdir()) == ["deep"]


def test_a_directory_that_became_a_link_is_not_followed(tmp_path, folder):
    """Into /etc, for one."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kernel-mounts.conf").write_text("precious")
    top = tmp_path / "share"
    shutil.copytree(folder(), top / "bootstrap")
    shutil.rmtree(top / "bootstrap/systemd")
    (top / "bootstrap/systemd").symlink_to(victim)
    assert remove_folder(top).returncode == 0
    assert (victim / "kernel-mounts.conf").read_text() == "precious"


@pytest.mark.parametrize("swapped", ["bootstrap", "bootstrap/systemd"])
def test_a_directory_that_becomes_a_link_while_its_files_are_removed_is_not_followed(tmp_path, folder, swapped):
    """Others may write to the share: they may wait for the first file to go."""
    victim = tmp_path / "victim"
    victim.mkdir()
    names = ("kernel-mounts.conf", "passwd")
    for name in names:
        (victim / name).write_text("precious")
    top, tools = tmp_path / "share", tmp_path / "tools"
    shutil.copytree(folder(), top / "bootstrap")
    sums = top / "bootstrap/SHA256SUMS"
    sums.write_text(f"{'0' * 64}  first\n{sums.read_text()}{'0' * 64}  passwd\n{'0' * 64}  systemd/passwd\n")
    tools.mkdir()
    swap = f"mv {top}/{swapped} {tmp_path}/away; ln -s {victim} {top}/{swapped}"
    (tools / "rm").write_text(f'#!/bin/sh\n[ -e {tmp_path}/away ] || {{ {swap}; }}\nexec /bin/rm "$@"\n')
    (tools / "rm").chmod(0o755)
    remove_folder(top, PATH=f"{tools}:{os.environ['PATH']}")
    assert (tmp_path / "away").exists()
    assert sorted(path.name for path in victim.iterdir()) == sorted(names)


def test_a_folder_that_is_a_link_is_left_alone(tmp_path, folder):
    """Its list of files is somebody else's."""
    victim, top = tmp_path / "victim", tmp_path / "share"
    shutil.copytree(folder(), victim)
    top.mkdir()
    (top / "bootstrap").symlink_to(victim)
    before = sorted(victim.rglob("*"))
    done = remove_folder(top)
    assert (done.returncode, sorted(victim.rglob("*"))) == (0, before)
    assert "left alone" in done.stderr


@pytest.mark.parametrize("made", ["{victim}", "/../victim", "{top}/bootstrap/../../victim"])
def test_only_what_leads_to_the_folder_counts_as_made_for_it(tmp_path, folder, made):
    """An empty directory elsewhere stays."""
    victim = tmp_path / "victim"
    victim.mkdir()
    top = tmp_path / "share"
    shutil.copytree(folder(), top / "bootstrap")
    (top / "bootstrap/.made").write_text(made.format(victim=victim, top=top) + "\n")
    assert remove_folder(top).returncode == 0
    assert victim.is_dir()


def test_the_folder_and_what_was_made_for_it_go(tmp_path, folder):
    """As it was before."""
    top = tmp_path / "share"
    shutil.copytree(folder(), top / "bootstrap")
    (top / "bootstrap/.made").write_text(f"{top}/bootstrap\n{top}\n")
    assert remove_folder(top).returncode == 0
    assert not top.exists()
