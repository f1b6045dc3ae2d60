"""The guests' kernel, first file system and root file system: made once, kept in the cache directory.

Debian's cloud kernel is unpacked, not installed; the root file system comes from debootstrap and is packed into an ext4
image without mounting anything. The kernel has virtio_blk as a module, so a tiny initramfs (busybox) loads that first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

VERSION = "6"
"""Counts up when what is built changes."""
SUITE = "bookworm"
PACKAGES = "nfs-common,nfs-kernel-server,python3,kmod,iproute2,procps,busybox-static,mdadm,cachefilesd"
FIRST_MODULES = ("virtio_pci", "virtio_blk", "ext4")
"""What the kernel needs to find its root; those they depend on come along."""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /new
exec /bin/busybox switch_root /new /guest-init
"""
GUEST_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
modprobe -a virtio_net virtio_console
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mkdir -p /program && tar -C /program -xf /dev/vdb
exec python3 /program/agent.py
"""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What QEMU boots."""

    kernel: Path
    initramfs: Path
    root: Path


def image() -> Image:
    """The image; built on first use, in about a minute and a half."""
    need(sys.platform == "linux" and os.uname().machine == "x86_64", "the kernel rig runs on Linux on x86-64")
    for program, package in (
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("debootstrap", "debootstrap"),
        ("mke2fs", "e2fsprogs"),
        ("apt-get", "apt"),
    ):
        need(shutil.which(program), f"{package} is not installed")
    need(os.geteuid() == 0, "debootstrap needs root")
    directory = cache_directory() / f"kernel-{VERSION}"
    made = Image(kernel=directory / "vmlinuz", initramfs=directory / "initramfs", root=directory / "root.ext4")
    with locked("kernel-image"):
        if not made.root.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            _build(made, directory)
    return made


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}\n{said}")
    return done.stdout.decode()


def _build(made: Image, directory: Path) -> None:
    tree, package = directory / "tree", directory / "package"
    _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, tree)
    depends = _run("apt-cache", "depends", "linux-image-cloud-amd64")
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    need(found, "apt knows no linux-image-cloud-amd64")
    assert found
    package.mkdir()
    _run("apt-get", "-o", "APT::Sandbox::User=root", "download", found[1], cwd=package)
    _run("dpkg-deb", "-x", next(package.glob("*.deb")), package)
    shutil.copy(next((package / "boot").glob("vmlinuz-*")), made.kernel)
    modules = next((package / "lib/modules").iterdir())
    (tree / "lib/modules").mkdir(exist_ok=True)
    _run("cp", "-a", modules, tree / "lib/modules")
    _run("chroot", tree, "depmod", modules.name)

    init = tree / "guest-init"
    init.write_text(GUEST_INIT)
    init.chmod(0o755)
    for waste in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(tree / waste, ignore_errors=True)
    _write_initramfs(made.initramfs, tree, modules)
    unfinished = made.root.with_suffix(".unfinished")
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", tree, unfinished, "1200M")
    shutil.rmtree(tree)
    shutil.rmtree(package)
    unfinished.rename(made.root)


def _write_initramfs(path: Path, tree: Path, modules: Path) -> None:
    """Writes a cpio archive in the kernel's "newc" format (Documentation/driver-api/early-userspace)."""
    out = bytearray()

    def add(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        raw = name.encode() + b"\0"
        fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(raw), 0)
        out.extend(b"070701" + b"".join(b"%08X" % one for one in fields) + raw)
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(content)
        out.extend(b"\0" * (-len(out) % 4))

    for name in ("bin", "dev", "proc", "modules", "new"):
        add(name, stat.S_IFDIR | 0o755)
    add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    add("bin/busybox", stat.S_IFREG | 0o755, (tree / "bin/busybox").read_bytes())
    first = _with_dependencies(tree / "lib/modules" / modules.name)
    for module in first:
        add(f"modules/{module.stem}.ko", stat.S_IFREG | 0o644, module.read_bytes())
    add("init", stat.S_IFREG | 0o755, INIT.format(modules=" ".join(module.stem for module in first)).encode())
    add("TRAILER!!!", 0)
    path.write_bytes(out)


def _with_dependencies(directory: Path) -> list[Path]:
    """The first modules in an order in which they can be loaded (modules.dep(5)); those built in are left out."""
    needs: dict[str, list[str]] = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).stem.replace("-", "_"): path for path in needs}
    order: list[str] = []

    def take(path: str) -> None:
        for needed in needs[path]:
            take(needed)
        if path not in order:
            order.append(path)

    for name in FIRST_MODULES:
        if name in by_name:
            take(by_name[name])
    return [directory / path for path in order]


def pack_program(path: Path) -> None:
    """Our package, what it imports, and the agent, as a tar file that the guest reads from its second disk.

    Compiled files go along: the guest's Python is 3.11, where ours is too they save it seconds.
    """
    with tarfile.open(path, "w") as tar:
        tar.add(Path(__file__).with_name("agent.py"), "agent.py")
        for name in ("cachewarmer", "rich", "pygments", "markdown_it", "mdurl"):
            found = importlib.util.find_spec(name)
            if found is not None and found.origin is not None:
                tar.add(Path(found.origin).parent, name)
