"""A "VM": namespaces of its own over this machine's files, in which the real cloud-init runs the custom data.

Its root is an overlay over ``/``, so that whatever it writes is its own; its processes are a PID namespace, so that
SIGKILL to the first of them is what an eviction is: everything ends at once. It shares the network of the host. Its
``mount.nfs`` knows the exports it is given, and binds a directory of the host for each.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.servers.need import need

CLOUD_CONFIG = """\
datasource_list: [NoCloud]
network: {config: disabled}
preserve_hostname: true
manage_etc_hosts: false
disable_root: false
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
system_info: {distro: debian}
"""
"""The stages of an image's cloud-init that custom data goes through; users, disks and keys are not for a machine like this."""

BOOT = """\
set -eu
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
hostname "$2"
cd "$1/root"
mount --rbind /dev dev && mount -t sysfs sysfs sys && mount -t proc proc proc && mount -t tmpfs tmpfs run
exec chroot . sh -c '
  cloud-init init --local && cloud-init init && cloud-init modules --mode=config && cloud-init modules --mode=final
  while :; do sleep 3600; done'
"""

MOUNT_NFS = """\
#!/bin/sh
case "$1" in
{cases}
*) echo "mount.nfs: access denied by server while mounting $1" >&2; exit 32 ;;
esac
"""


def need_machines() -> None:
    """Skips where such machines can't be made, and fails in CI."""
    need(os.geteuid() == 0, "a machine of its own namespaces needs root")
    need(shutil.which("unshare") and shutil.which("setpriv"), "util-linux is not installed")
    need(shutil.which("cloud-init"), "cloud-init is not installed")


class Machine:
    """One machine; ``start`` boots it, ``kill`` is the end of it."""

    def __init__(
        self, name: str, custom_data: bytes, *, environment: Mapping[str, str], exports: Mapping[str, Path]
    ) -> None:
        self.name = name
        self.place = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.log = self.place / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = dict(environment)
        for part in ("upper", "work", "root"):
            (self.place / part).mkdir()
        (self.place / "upper").chmod(0o755)
        seed = self.upper("var/lib/cloud/seed/nocloud")
        seed.mkdir(parents=True)
        (seed / "meta-data").write_text(f"instance-id: {name}\nlocal-hostname: {name}\n")
        (seed / "user-data").write_bytes(custom_data)
        (seed / "user-data").chmod(0o600)
        self._write("etc/cloud/cloud.cfg", CLOUD_CONFIG)
        self._write("etc/cloud/ds-identify.cfg", "policy: enabled\n")
        cases = "\n".join(
            f'{shlex.quote(spec)}) exec mount --bind -o ro {shlex.quote(str(path))} "$2" ;;'
            for spec, path in exports.items()
        )
        self._write("usr/sbin/mount.nfs", MOUNT_NFS.format(cases=cases), 0o755)

    def upper(self, path: str) -> Path:
        """A file of the machine that it, or we, wrote."""
        return self.place / "upper" / path

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.upper(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def start(self) -> None:
        """Boots it. The process that calls this keeps it alive: with that thread it ends."""
        # What the host's own cloud-init left, or forbids, is none of this machine's business: hidden by the overlay.
        with contextlib.suppress(FileExistsError):
            os.mknod(self.upper("etc/cloud/cloud-init.disabled"), 0o600 | 0o020000, os.makedev(0, 0))
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self._environment}
        namespaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]
        with self.log.open("wb") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", BOOT, "sh", self.place, self.name],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    def kill(self) -> None:
        """SIGKILL to every process of it; its files stay until ``remove``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """The console, and the log of the bootstrap."""
        bootstrap = self.upper("var/log/cachewarmer-bootstrap.log")
        return self.log.read_text(errors="replace") + (bootstrap.read_text() if bootstrap.exists() else "")

    def remove(self) -> None:
        """Ends it, and deletes its files."""
        self.kill()
        shutil.rmtree(self.place, ignore_errors=True)
