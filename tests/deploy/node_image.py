"""Debian root directories, made once by debootstrap and kept in the cache directory: a minimal one, a node's, a machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.kernel.image import image
from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

VERSION = "2"
"""Counts up when what is built changes."""
SUITE = "bookworm"
OLD_SUITE = "bullseye"
"""Debian 11, with glibc 2.31."""
NODE_PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "rsyslog", "logrotate")
MACHINE_PACKAGES = ("nfs-common", "netbase", "kmod", "iproute2")
MACHINE_UNWANTED_UNITS = ("getty@tty1.service", "serial-getty@ttyS0.service", "e2scrub_reap.service")
"""Two would wait for udev to announce a terminal; the third costs seconds."""
MACHINE_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
modprobe virtio_net
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
tar -C / -xf /dev/vdb
exec /sbin/init
"""
"""Runs before systemd: the network, and what is this machine's own, from its second disk."""
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


def old_root() -> Path:
    """The oldest Debian that can still be had from the usual archives, of the essential packages only. Never write into it."""
    _need_tools()
    root = _directory() / OLD_SUITE
    with locked("node-image"):
        if not root.exists():
            try:
                tree = _debootstrap(OLD_SUITE, suite=OLD_SUITE)
            except RuntimeError as error:
                need(False, f"Debian {OLD_SUITE} can't be had: {error}")
                raise
            _finish(tree, root)
    return root


def node_root() -> Path:
    """That plus systemd, sshd, sudo and syslog, with a sudoer called ``ops``. Never write into it."""
    _need_tools()
    root = _directory() / "node"
    with locked("node-image"):
        if not root.exists():
            tree = _debootstrap("node", *NODE_PACKAGES)
            _furnish_node(tree)
            _finish(tree, root)
    return root


def _furnish_node(tree: Path) -> None:
    _run("chroot", tree, "useradd", "--create-home", "--shell", "/bin/bash", "ops")
    (tree / "etc/sudoers.d/ops").write_text("ops ALL=(ALL) NOPASSWD: ALL\n")
    _run("chroot", tree, "systemctl", "mask", *UNWANTED_UNITS)


def machine_root() -> Path:
    """A disk with a node's file system that can also mount NFS, for a machine with a kernel of its own. Never write into it.

    The kernel's modules come out of the disk of the guests in tests/kernel; that kernel and initramfs boot this one too.
    """
    _need_tools()
    guest = image()
    disk = _directory() / f"machine-of-{guest.root.parent.name}.ext4"
    with locked("node-image"):
        if not disk.exists():
            tree = _debootstrap("machine", *NODE_PACKAGES, *MACHINE_PACKAGES)
            _furnish_node(tree)
            _run("chroot", tree, "systemctl", "mask", *MACHINE_UNWANTED_UNITS)
            _run("debugfs", "-R", f"rdump /lib/modules {tree}/lib", guest.root)
            (tree / "guest-init").write_text(MACHINE_INIT)
            (tree / "guest-init").chmod(0o755)
            _empty(tree)
            _run(
                "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", tree, f"{disk}.unfinished", "1500M"
            )
            remove_tree(tree)
            Path(f"{disk}.unfinished").rename(disk)
    return disk


def _directory() -> Path:
    directory = cache_directory() / f"node-{VERSION}"
    directory.mkdir(exist_ok=True)
    return directory


def _need_tools() -> None:
    need(shutil.which("debootstrap"), "debootstrap is not installed")
    need(os.geteuid() == 0, "debootstrap needs root")


def _debootstrap(name: str, *packages: str, suite: str = SUITE) -> Path:
    tree = _directory() / f"{name}.unfinished"
    remove_tree(tree)
    include = [f"--include={','.join(packages)}"] if packages else []
    _run("debootstrap", "--variant=minbase", *include, suite, tree)
    return tree


def remove_tree(tree: Path) -> None:
    """Removes a tree, and nothing of what is still mounted in it: an interrupted debootstrap leaves its ``/proc`` there."""
    unmount_below(tree)
    shutil.rmtree(tree, ignore_errors=True)


def unmount_below(tree: Path) -> None:
    """Takes everything off that is mounted at a tree or in it, the last mounted first.

    Raises:
        RuntimeError: something stays.
    """
    for place in reversed(_mounted_below(tree)):
        _run("umount", place)
    left = _mounted_below(tree)
    if left:
        raise RuntimeError(f"still mounted: {', '.join(left)}")


def _mounted_below(tree: Path) -> list[str]:
    """The places where something is mounted, in the order of mounting (proc_pid_mountinfo(5))."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    plain = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), one) for one in places]
    top = os.path.realpath(tree)
    return [one for one in plain if one == top or one.startswith(f"{top}/")]


def _finish(tree: Path, root: Path) -> None:
    unmount_below(tree)
    _empty(tree)
    tree.rename(root)


def _empty(tree: Path) -> None:
    for name in UNWANTED:
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(parents=True)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}\n{said}")
