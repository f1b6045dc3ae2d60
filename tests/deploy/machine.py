"""A machine with systemd, sshd and a kernel of its own: what ``node`` is, but it can mount NFS. Emulated, so it is slow."""

from __future__ import annotations

import contextlib
import io
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.node import Node
from tests.deploy.node_image import machine_root
from tests.kernel.guest import user_network, virtual_machine
from tests.kernel.image import image
from tests.servers.need import need
from tests.servers.ports import free_port, stop, wait_until


@contextlib.contextmanager
def machine(memory_mib: int = 1024) -> Iterator[Node]:
    """Boots one and yields it when systemd is done. The loopback interface of this host is its tests.kernel.guest.HOST."""
    need(shutil.which("ssh"), "openssh-client is not installed")
    boot, disk = image(), machine_root()
    place = Path(tempfile.mkdtemp(prefix="cachewarmer-machine-"))
    made = Node(
        ssh_port=free_port(),
        key_path=place / "key",
        password=secrets.token_hex(8),
        root=place,
        log=place / "console",
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made.key_path], check=True)
    own = place / "own.tar"
    _pack_own(own, made.key_path.with_suffix(".pub").read_bytes())
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        child = subprocess.Popen(
            [
                *virtual_machine(boot.kernel, boot.initramfs, memory_mib),
                *("-drive", f"if=virtio,format=raw,file={disk},snapshot=on"),
                *("-drive", f"if=virtio,format=raw,file={own},readonly=on"),
                *("-serial", f"file:{made.log}"),
                *user_network({22: made.ssh_port}),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(place)},
        )
        stack.callback(stop, child)
        wait_until(lambda: _answers(made), child, "the machine", made.log, 240)
        state = made.run("systemctl is-system-running --wait", check=False, seconds=240).stdout.strip()
        if state != "running":
            raise RuntimeError(
                f"the machine is {state}: {made.run('systemctl --failed --no-pager', check=False).stdout}"
            )
        yield made


def _answers(made: Node) -> bool:
    # Connections are taken before there is an sshd in the machine, and then lead nowhere.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return made.run("true", check=False, seconds=20).returncode == 0
    return False


def _pack_own(path: Path, public_key: bytes) -> None:
    """What is this machine's own: its name, and the key that opens it."""
    with tarfile.open(path, "w") as tar:

        def add(name: str, mode: int, content: bytes | None, owner: int = 0) -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid = mode, owner, owner
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            tar.addfile(entry, None if content is None else io.BytesIO(content))

        add("etc/hostname", 0o644, b"machine\n")
        add("etc/hosts", 0o644, b"127.0.0.1 localhost machine\n")
        add("etc/ssh/sshd_config.d/machine.conf", 0o644, b"PermitRootLogin yes\nUseDNS no\n")
        for home, owner in (("root", 0), ("home/ops", 1000)):
            add(f"{home}/.ssh", 0o700, None, owner)
            add(f"{home}/.ssh/authorized_keys", 0o600, public_key, owner)
