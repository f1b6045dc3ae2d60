"""The four modules one after the other on one node, and what they leave there and at the broker."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.deploy.node import Node
from tests.deploy.terraform import Configuration, Expression
from tests.servers.ganesha import GaneshaServer

PREPARE, MANAGER, WORKER, SUBMIT = (
    f"cachewarmer_{name}" for name in ("prepare_bootstrapdir", "manager_install", "worker_install", "submitjobs")
)
Arguments = dict[str, object]
SETTLING_SECONDS = 30
LISTING = r"""
cut -d: -f1 /etc/passwd /etc/group
systemctl list-units --all --plain --no-legend 'cachewarmer*'
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
  -o -path /var/cache -o -path /var/lib/systemd -o -path /var/lib/nfs \) -prune -o -print | sort
find /run /tmp -maxdepth 1 | grep -v -e systemd -e user -e sudo -e rpc | sort
find /var/log -name 'cachewarmer*'
mount -t nfs,nfs4
"""
"""Users, services known, mounts, and every file but the system's own state and logs."""


def storage(connection: str, prefix: str) -> Arguments:
    """The arguments that name the storage account and sign in to it."""
    name = connection.partition("AccountName=")[2].partition(";")[0]
    return {"storage_account": name, "storage_connection_string": connection, "queue_name_prefix": prefix}


def by_key(node: Node, user: str = "ops") -> Arguments:
    """The arguments that sign in with the node's key."""
    return {
        "jumpbox_address": node.address,
        "jumpbox_ssh_port": node.ssh_port,
        "jumpbox_username": user,
        "ssh_private_key_path": str(node.key_path),
    }


def service(server: GaneshaServer) -> Arguments:
    """Settings that lead to a server without its portmapper."""
    return {"settings_toml": f"[nfs]\nport = {server.nfs_port}\nmount_port = {server.mount_port}\n"}


def chained(
    node: Node,
    account: Mapping[str, object],
    server: GaneshaServer,
    *,
    folder: Mapping[str, object],
    **more: Mapping[str, object],
) -> dict[str, Arguments]:
    """The four modules, with a bootstrap folder in this place; ``more`` arguments go by the module's name."""
    ssh = by_key(node)
    prepared = f"module.{PREPARE}"
    installed = {
        **ssh,
        **account,
        **service(server),
        **folder,
        "bootstrap_export_path": Expression(f"{prepared}.bootstrap_export_path"),
        "bootstrap_version": Expression(f"{prepared}.bootstrap_version"),
    }
    roles = {}
    for role, module in (("manager", MANAGER), ("worker", WORKER)):
        script = Expression(f"{prepared}.cachewarmer_{role}_bootstrap_script_path")
        roles[module] = {**installed, f"bootstrap_{role}_script_path": script}
    roles[MANAGER]["vmss_worker_count"] = 0
    modules: dict[str, Arguments] = {
        PREPARE: {**ssh, **folder, "bootstrap_subdir": "/tools/bootstrap"},
        **roles,
        SUBMIT: {
            **ssh,
            **account,
            "warm_mount_addresses": server.address,
            "depends_on": [f"module.{MANAGER}", f"module.{WORKER}"],
        },
    }
    for name, values in more.items():
        modules[f"cachewarmer_{name}"] |= values
    return modules


def listing(node: Node) -> list[str]:
    """What an installation could leave behind on a node."""
    return node.run(LISTING).stdout.splitlines()


def differences(before: list[str], after: list[str]) -> list[str]:
    """The lines that are in only one of two listings, marked as `diff` marks them."""
    return sorted([f"- {line}" for line in {*before} - {*after}] + [f"+ {line}" for line in {*after} - {*before}])


@contextlib.contextmanager
def nothing_left(node: Node, configuration: Configuration) -> Iterator[None]:
    """Destroys what the block applied, whatever came of it, and compares the node with what it was."""
    before = listing(node)
    try:
        yield
    finally:
        done = configuration.destroy()
    assert done.code == 0, done.output
    # The node's own services come and go, and a unit that was stopped is listed for a moment yet.
    deadline = time.monotonic() + SETTLING_SECONDS
    while (differing := differences(before, listing(node))) and time.monotonic() < deadline:
        time.sleep(1)
    assert not differing


def status(account: Mapping[str, object], *arguments: str) -> dict[str, Any]:
    """What the broker says, as JSON."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cachewarmer", "status", *arguments, "--json", "--broker"),
            f"azure://{account['storage_account']}/{account['queue_name_prefix']}",
        ],
        env={"PATH": os.environ["PATH"], "AZURE_STORAGE_CONNECTION_STRING": str(account["storage_connection_string"])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def make_tree(root: Path, files: int) -> None:
    """Files of 1000 bytes, f0, f1, …"""
    root.mkdir()
    for number in range(files):
        (root / f"f{number}").write_bytes(bytes(1000))
