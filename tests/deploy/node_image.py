"""Two Debian root directories, made once by debootstrap and kept in the cache directory: a minimal one, and a node's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

VERSION = "2"
"""Counts up when what is built changes."""
SUITE = "bookworm"
NODE_PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "rsyslog", "logrotate")
UNWANTED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt/archives", "var/lib/apt/lists")
UNWANTED_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer")


def minimal_root() -> Path:
    """A Debian of the essential packages only: no Python, no init. Read it, or lay something over it; never write."""
    _need_tools()
    root = _directory() / "minimal"
    with locked("node-image"):
        if not root.exists():
            _finish(_debootstrap("minimal"), root)
    return root


def node_root() -> Path:
    """That plus systemd, sshd, sudo and syslog, with a sudoer called ``ops``. Never write into it."""
    _need_tools()
    root = _directory() / "node"
    with locked("node-image"):
        if not root.exists():
            tree = _debootstrap("node", *NODE_PACKAGES)
            _run("chroot", tree, "useradd", "--create-home", "--shell", "/bin/bash", "ops")
            (tree / "etc/sudoers.d/ops").write_text("ops ALL=(ALL) NOPASSWD: ALL\n")
            _run("chroot", tree, "systemctl", "mask", *UNWANTED_UNITS)
            _finish(tree, root)
    return root


def _directory() -> Path:
    directory = cache_directory() / f"node-{VERSION}"
    directory.mkdir(exist_ok=True)
    return directory


def _need_tools() -> None:
    need(shutil.which("debootstrap"), "debootstrap is not installed")
    need(os.geteuid() == 0, "debootstrap needs root")


def _debootstrap(name: str, *packages: str) -> Path:
    tree = _directory() / f"{name}.unfinished"
    shutil.rmtree(tree, ignore_errors=True)
    include = [f"--include={','.join(packages)}"] if packages else []
    _run("debootstrap", "--variant=minbase", *include, SUITE, tree)
    return tree


def _finish(tree: Path, root: Path) -> None:
    for name in UNWANTED:
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(parents=True)
    tree.rename(root)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}\n{said}")
