"""A "VM": namespaces of its own over this machine's files, in which the real cloud-init runs the custom data.

Its root is an overlay over ``/``, so that whatever it writes is its own; its processes are a PID namespace, so that
SIGKILL to the first of them is what an eviction is: everything ends at once. It shares the network of the host. Its
``mount.nfs`` knows the exports it is given, and binds a directory of the host for each, unless that has ``.unexported``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import wait_until

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
shift 2
for export; do
  mkdir -p "run/exports/$#" && mount --bind "$export" "run/exports/$#"
  shift
done
exec chroot . sh -c '
  cloud-init init --local && cloud-init init && cloud-init modules --mode=config && cloud-init modules --mode=final
  while :; do sleep 3600; done'
"""

MOUNT_NFS = """\
#!/bin/sh
case "$1" in
{cases}
esac
if [ -z "${{from-}}" ] || [ -e "$from/.unexported" ]; then
  echo "mount.nfs: access denied by server while mounting $1" >&2
  exit 32
fi
exec mount --bind -o ro "$from" "$2"
"""


def need_machines() -> None:
    """Skips where such machines can't be made, and fails in CI."""
    need(os.geteuid() == 0, "a machine of its own namespaces needs root")
    need(shutil.which("unshare") and shutil.which("setpriv"), "util-linux is not installed")
    need(shutil.which("cloud-init"), "cloud-init is not installed")


class Machine:
    """One machine; ``start`` boots it, ``kill`` is the end of it."""

    def __init__(
        self,
        name: str,
        custom_data: bytes,
        *,
        environment: Mapping[str, str],
        exports: Mapping[str, Path],
        nfs_client: bool = True,
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
        self.write("etc/cloud/cloud.cfg", CLOUD_CONFIG)
        self.write("etc/cloud/ds-identify.cfg", "policy: enabled\n")
        self._exports = [str(path) for path in exports.values()]
        # Bound beforehand: through the overlay, what comes into a directory of the host later might not be seen.
        cases = "\n".join(
            f"{shlex.quote(spec)}) from=/run/exports/{len(exports) - number} ;;" for number, spec in enumerate(exports)
        )
        # What the host's own cloud-init left, or forbids, is none of this machine's business.
        self._hide("etc/cloud/cloud-init.disabled")
        if nfs_client:
            self.write("usr/sbin/mount.nfs", MOUNT_NFS.format(cases=cases), 0o755)
        else:
            self._hide("usr/sbin/mount.nfs")

    def upper(self, path: str) -> Path:
        """A file of the machine that it, or we, wrote."""
        return self.place / "upper" / path

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Puts a file into the machine's image, before it is started."""
        file = self.upper(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def _hide(self, path: str) -> None:
        """A file of the host that the machine has not (a "whiteout" of the overlay)."""
        self.upper(path).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(self.upper(path), stat.S_IFCHR | 0o600, os.makedev(0, 0))

    def start(self) -> None:
        """Boots it. The process that calls this keeps it alive: with that thread it ends."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self._environment}
        namespaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]
        with self.log.open("wb") as console:
            self._process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    *namespaces,
                    "sh",
                    "-c",
                    BOOT,
                    "sh",
                    self.place,
                    self.name,
                    *self._exports,
                ],
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

    def wait(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Returns once it is so; RuntimeError with what the machine said if it does not come."""
        assert self._process is not None
        wait_until(true, self._process, f"machine {self.name}", self.log, seconds)

    def said(self) -> str:
        """The console, and the log of the bootstrap."""
        bootstrap = self.upper("var/log/cachewarmer-bootstrap.log")
        return self.log.read_text(errors="replace") + (bootstrap.read_text() if bootstrap.exists() else "")

    def remove(self) -> None:
        """Ends it, and deletes its files."""
        self.kill()
        shutil.rmtree(self.place, ignore_errors=True)
