"""On a machine with systemd: the example existing-cache, applied as it is, and what cloud-init brings to a VM of the others."""

import base64
import json
import re
import shutil

import pytest

from tests.deploy.bundle import bundle
from tests.deploy.node import node
from tests.deploy.terraform import DEPLOY, Root

FILES, FILE_BYTES = 40, 2_000


@pytest.fixture(scope="module")
def machine():
    with node() as started:
        yield started


@pytest.fixture(scope="module")
def program():
    """Built, which is not a test's time."""
    return bundle()


def left(machine):
    """Users, units and files of this project on the machine."""
    return machine.run(
        "grep -l cachewarmer /etc/passwd /etc/group; systemctl list-units --all --plain --no-legend 'cachewarmer*'\n"
        "find /etc /usr/local /var/lib /opt /srv /home /root /mnt -name '*cachewarmer*'",
        check=False,
    ).stdout.split()


@pytest.mark.timeout(240)
def test_it_installs_warms_and_goes_away(machine, program, azurite_connection, nfs_server, nfs_root, tmp_path):
    """``apply`` returns when the two paths are warm, and says how much that was; a second one does nothing."""
    for name in ("tools", "shot42"):
        (nfs_root / "existing" / name).mkdir(parents=True)
        for number in range(FILES):
            (nfs_root / "existing" / name / f"f{number}").write_bytes(bytes(FILE_BYTES))
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns(".terraform*"))
    example = Root(tmp_path / "deploy/terraform/examples/existing-cache")
    values = {
        "cache_mount_addresses": [nfs_server.address],
        "cache_export_path": nfs_server.export,
        "warm_paths": ["/existing/tools", "/existing/shot42"],
        "manager_address": machine.address,
        "ssh_port": machine.ssh_port,
        "admin_username": "ops",
        "ssh_private_key_path": str(machine.key_path),
        "cachewarmer_path": str(program),
        "storage_account": azurite_connection.partition("AccountName=")[2].partition(";")[0],
        "storage_connection_string": azurite_connection,
        "queue_name_prefix": "existing",
        "settings_toml": f"[nfs]\nport = {nfs_server.nfs_port}\nmount_port = {nfs_server.mount_port}\n",
    }
    # Values in this file go before those that come with the example.
    (example.directory / "z.auto.tfvars.json").write_text(json.dumps(values))

    assert left(machine) == []
    try:
        done = example.apply()
        assert done.code == 0, done.output
        for path in values["warm_paths"]:
            assert f"{path}: completed" in done.output
        assert done.output.count(f"{FILES} files, 78.1 KiB in 1 directory") == 2
        assert example.apply().counts == (0, 0, 0)

        command = json.loads(example.run("output", "-json", "ssh_command").output)
        assert command == f"ssh -p {machine.ssh_port} -i {machine.key_path} ops@{machine.address}"
        status = json.loads(example.run("output", "-json", "status_command").output)
        shown = machine.run(status, environment={"AZURE_STORAGE_CONNECTION_STRING": azurite_connection}, user="ops")
        assert shown.stdout.count("completed") == 2
        assert left(machine) != []
    finally:
        gone = example.destroy()
    assert gone.code == 0, gone.output
    assert left(machine) == []


def test_systemd_takes_a_vms_unit_and_gives_its_values_as_they_are(machine):
    """The unit that runs a VM's scripts is valid; quotes, dollars and backslashes survive the file of its environment."""
    odd = 'a "b" $HOME ${x} \\c `d` e\'f 100% \\'
    text = Root(DEPLOY / "terraform/examples/modules/cloud_config").text(
        '"#cloud-config\\n${yamlencode(local.config)}"',
        {"name": "odd", "scripts": ["cache.sh", "serve.sh"], "environment": {"VALUE": odd, "LAST": "last"}},
    )
    files = {
        path: base64.b64decode(content).decode()
        for content, path in re.findall(r'"content": "([^"]*)"\n.*\n  "path": "([^"]*)"', text)
    }
    scripts = {f"/usr/local/lib/odd/{name}.sh" for name in ("cache", "serve")}
    assert set(files) == {"/etc/odd.env", "/etc/systemd/system/odd.service"} | scripts
    for path, content in files.items():
        machine.run(f"mkdir -p $(dirname {path}); cat >{path}; chmod 755 {path}", stdin=content.removesuffix("\n"))
    valid = machine.run("chmod 644 /etc/systemd/system/odd.service; systemd-analyze verify --man=no odd.service")
    assert valid.stdout + valid.stderr == ""
    shown = machine.run("systemctl daemon-reload; systemctl show -P ExecStart odd.service").stdout
    assert re.findall(r"path=(\S+)", shown) == ["/usr/local/lib/odd/cache.sh", "/usr/local/lib/odd/serve.sh"]
    run = "systemd-run --quiet --wait --pipe -p EnvironmentFile=/etc/odd.env printenv VALUE LAST"
    assert machine.run(run).stdout == f"{odd}\nlast\n"
    machine.run(f"rm -r /usr/local/lib/odd {' '.join(set(files) - scripts)}; systemctl daemon-reload")


def test_where_there_is_systemd_its_service_exports(machine):
    """``serve.sh`` writes what the service reads and starts it anew. The service here is a stand-in: the kernel has no nfsd."""
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'cat /etc/exports.d/* >>/run/served'"
    machine.run("cat >/etc/systemd/system/nfs-server.service", stdin=unit)
    machine.run("systemctl daemon-reload; systemctl start nfs-server", check=False)
    export = {"EXPORT_DIRECTORY": "/data", "EXPORT_TO": "10.0.0.0/8(ro,mp,fsid=1)", "NFSD_THREADS": "99"}
    script = (DEPLOY / "terraform/examples/scripts/serve.sh").read_text()
    for _ in range(2):
        machine.run(script, environment=export)
    assert machine.run("cat /run/served").stdout == 2 * "/data 10.0.0.0/8(ro,mp,fsid=1)\n"
    assert "threads = 99\n" in machine.run("cat /etc/nfs.conf.d/cachewarmer.conf").stdout
    machine.run(
        "systemctl stop nfs-server; rm -r /etc/systemd/system/nfs-server.service /etc/exports.d /etc/nfs.conf.d\n"
        "systemctl daemon-reload"
    )
