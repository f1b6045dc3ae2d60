"""The custom data goes through the real cloud-init, on a machine of its own namespaces."""

import contextlib
import hashlib
import shutil
import subprocess
from dataclasses import replace
from importlib import resources

import pytest

from cachewarmer.config import VmssSettings
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.vmss.cloud_init import custom_data
from tests.azure_standin.machine import Machine, need_machines
from tests.servers.need import need

ODD = "it's \"odd\" \\ $HOME `id` ${x} a  b\t#!é 😀\nsecond: 'line' %s"
EXPORT = "/boot strap's"
SAY = 'env >/root/seen\necho said: $BOOTSTRAP_PATH; ls "$BOOTSTRAP_PATH" >/root/listed\n'


def launch(script="scripts/bootstrap.sh"):
    return WorkerLaunch(
        broker_url="azure://account/prefix",
        storage_resource_group=ODD,
        bootstrap_mount_address="10.0.1.7",
        bootstrap_export_path=EXPORT,
        bootstrap_script_path=f"/{script}",
    )


@contextlib.contextmanager
def machine(folder, document, **more):
    """A machine that can mount ``folder``, started."""
    need_machines()
    made = Machine(
        "vm",
        document.encode(),
        environment={"CACHEWARMER_PAUSE_SECONDS": "0.2", "CACHEWARMER_WAIT_SECONDS": "30"},
        exports={f"10.0.1.7:{EXPORT}": folder},
        **more,
    )
    try:
        yield made
    finally:
        made.remove()


def bootstrap_log(made):
    log = made.upper("var/log/cachewarmer-bootstrap.log")
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize("worker_key", ["", ODD])
def test_it_is_valid_by_cloud_inits_own_schema(tmp_path, worker_key):
    """``cloud-init schema`` has no complaint."""
    need(shutil.which("cloud-init"), "cloud-init is not installed")
    file = tmp_path / "custom-data"
    settings = VmssSettings(worker_key=worker_key, allow_internet=True)
    file.write_text(custom_data(launch(), settings, client_id="me", proxy={"http_proxy": ODD}))
    done = subprocess.run(["cloud-init", "schema", "--config-file", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


def test_the_script_is_clean():
    """By shellcheck, as the shell that every image has."""
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    script = resources.files("cachewarmer.fleet.vmss").joinpath("launch.sh").read_text()
    done = subprocess.run(["shellcheck", "--shell=sh", "-"], input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_it_mounts_waits_runs_and_unmounts(tmp_path):
    """The export and the script come late; every value arrives as it was given; nothing is left but a log."""
    (tmp_path / ".unexported").touch()
    document = custom_data(
        launch(),
        VmssSettings(worker_key=ODD),
        client_id="me",
        proxy={"http_proxy": ODD, "https_proxy": "http://s:2", "no_proxy": "local"},
    )
    with machine(tmp_path, document) as made:
        made.start()
        made.wait(lambda: "mounting 10.0.1.7:/boot strap's: not yet" in bootstrap_log(made))
        (tmp_path / ".unexported").unlink()
        made.wait(lambda: "waiting for scripts/bootstrap.sh: not yet" in bootstrap_log(made))
        (tmp_path / "scripts").mkdir()
        (tmp_path / "scripts/bootstrap.sh").write_text(
            "#!/bin/sh\n[ -e /root/again ] || { touch /root/again; exit 1; }\n" + SAY
        )
        made.wait(lambda: bootstrap_log(made).endswith(" done\n"))
        made.wait(lambda: not made.upper("mnt/cachewarmer-bootstrap").exists())

        seen = made.upper("root/seen").read_text()
        for name, value in {
            "STORAGE_ACCOUNT": "account",
            "QUEUE_PREFIX": "prefix",
            "STORAGE_ACCOUNT_RESOURCE_GROUP": ODD,
            "STORAGE_KEY": ODD,
            "AZURE_CLIENT_ID": "me",
            "http_proxy": ODD,
            "https_proxy": "http://s:2",
            "no_proxy": "local,169.254.169.254",
            "BOOTSTRAP_PATH": "/mnt/cachewarmer-bootstrap",
        }.items():
            assert f"{name}={value}\n" in seen
        assert made.upper("root/listed").read_text() == "scripts\n"
        log = bootstrap_log(made)
        assert "running scripts/bootstrap.sh: not yet; again" in log, "it failed once"
        assert "said: /mnt/cachewarmer-bootstrap" in log
        assert ODD not in log
        assert not made.upper("etc/cachewarmer/launch.env").exists(), "the key is not needed any more"
        modes = {path: made.upper(path).stat().st_mode & 0o777 for path in ("etc/cachewarmer/launch",)}
        modes["log"] = made.upper("var/log/cachewarmer-bootstrap.log").stat().st_mode & 0o777
        assert modes == {"etc/cachewarmer/launch": 0o700, "log": 0o600}


def test_secrets_are_never_readable_by_others(tmp_path):
    """While the machine waits, the values are root's alone, and on no command line."""
    (tmp_path / ".unexported").touch()
    with machine(tmp_path, custom_data(launch(), VmssSettings(worker_key="c2VjcmV0"), proxy={})) as made:
        made.start()
        made.wait(lambda: "not yet" in bootstrap_log(made))
        assert made.upper("etc/cachewarmer/launch.env").stat().st_mode & 0o777 == 0o600
        readable = [
            path
            for path in made.place.joinpath("upper").rglob("*")
            if path.is_file() and path.stat().st_mode & 0o044 and b"c2VjcmV0" in path.read_bytes()
        ]
        assert readable == []
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "STORAGE_KEY" not in lines


def test_an_image_without_an_nfs_client(tmp_path):
    """Nothing is fetched unless it may be, and the log says what to do."""
    with machine(tmp_path, custom_data(launch(), VmssSettings(), proxy={}), nfs_client=False) as made:
        made.write("usr/sbin/modprobe", "#!/bin/sh\nexit 1\n", 0o755)
        made.write("usr/bin/apt-get", "#!/bin/sh\ntouch /root/fetched\n", 0o755)
        made.start()
        made.wait(lambda: "failed: " in bootstrap_log(made))
        assert "its kernel knows no NFS, and nothing may be fetched: use an image with nfs-common" in bootstrap_log(
            made
        )
        assert not made.upper("root/fetched").exists()


def test_the_nfs_client_is_installed_where_that_is_allowed(tmp_path):
    """By the image's own package manager, tried again until it succeeds."""
    (tmp_path / "bootstrap.sh").write_text(SAY)
    install = f"""#!/bin/sh
case "$*" in
*update*) ;;
*nfs-common*) [ -e /root/once ] || {{ touch /root/once; exit 100; }}
  printf '#!/bin/sh\\nexec mount --bind {tmp_path} "$2"\\n' >/usr/sbin/mount.nfs; chmod 755 /usr/sbin/mount.nfs ;;
esac
"""
    document = custom_data(launch("bootstrap.sh"), VmssSettings(allow_internet=True), proxy={})
    with machine(tmp_path, document, nfs_client=False) as made:
        made.write("usr/bin/apt-get", install, 0o755)
        made.start()
        made.wait(lambda: bootstrap_log(made).endswith(" done\n"))
        assert "installing the NFS client: not yet" in bootstrap_log(made)
        assert made.upper("root/seen").exists()


def test_a_folder_that_the_manager_was_not_installed_from_is_not_run(tmp_path):
    """Others may write to the share, and the machine would run it as root; the folder that is known runs, from a copy."""
    folder = tmp_path / "scripts"
    (folder / "deep").mkdir(parents=True)
    (folder / "bootstrap.sh").write_text('#!/bin/sh\ncat "$(dirname "$0")/deep/file" >/root/seen\n')
    (folder / "deep/file").write_text("as it was\n")
    sums = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  ./{name}\n"
        for name in ("bootstrap.sh", "deep/file")
    )
    (folder / "SHA256SUMS").write_text(sums)
    known = {"BOOTSTRAP_SHA256": hashlib.sha256(sums.encode()).hexdigest()}
    (folder / "deep/file").write_text("changed\n")
    with machine(tmp_path, custom_data(replace(launch(), environment=known), VmssSettings(), proxy={})) as made:
        made.start()
        made.wait(lambda: "deep/file: FAILED" in bootstrap_log(made))
        (folder / "SHA256SUMS").write_text(sums.replace("./deep", "./x/../deep"))
        made.wait(lambda: "not the one that the manager was installed from" in bootstrap_log(made))
        assert not made.upper("root/seen").exists()
        (folder / "SHA256SUMS").write_text(sums)
        (folder / "deep/file").write_text("as it was\n")
        made.wait(lambda: bootstrap_log(made).endswith(" done\n"))
        assert made.upper("root/seen").read_text() == "as it was\n"
        made.wait(lambda: not made.upper("etc/cachewarmer/folder").exists())
