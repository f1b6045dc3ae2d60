"""A machine with systemd and sshd: Debian booted by systemd-nspawn, in about two seconds.

It shares the network of the host, so a server on the host's loopback is on the node's too, and sshd has a port of its
own. Its root is an overlay over the cached image: nothing of one node is seen by the next. Its kernel is the host's:
no NFS mounts where the host can't make them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.node_image import node_root
from tests.servers.need import need
from tests.servers.ports import accepts, free_port, stop, wait_until

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A running machine. ``root`` and ``ops`` (who may sudo) sign in with the key; both have the password."""

    ssh_port: int
    key_path: Path
    password: str = field(repr=False)
    root: Path
    """Its file system; ``/run`` and ``/tmp`` are its own and not seen here."""
    log: Path
    user: str = "ops"
    address: str = "127.0.0.1"

    def ssh(self, user: str = "root") -> list[str]:
        """The command that runs a command on the node."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
        control = self.key_path.with_name(f"control-{user}")
        if control.exists():
            options.append(f"ControlPath={control}")
        flags = [part for option in options for part in ("-o", option)]
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            f"{self.key_path}",
            *flags,
            "-p",
            f"{self.ssh_port}",
            f"{user}@{self.address}",
        ]

    def run(
        self,
        script: str,
        *,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        user: str = "root",
        stdin: str = "",
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a shell script on the node, with these variables exported.

        The script and the variables go through stdin, so that no command line holds them.

        Raises:
            RuntimeError: it failed, and ``check``; with what it said.
        """
        exports = "".join(f"export {name}={quoted(value)}\n" for name, value in (environment or {}).items())
        heredoc = f" <<'{(mark := secrets.token_hex(8))}'\n{stdin}\n{mark}\n" if stdin else " </dev/null\n"
        # In braces, so that the shell has read all of it before any of it runs.
        text = f"{exports}{{\n{script}\n}}{heredoc}"
        done = subprocess.run(
            [*self.ssh(user), "sh"], input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{script!r} on the node ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done


def quoted(value: str) -> str:
    """A value as one word of a shell, whatever it holds."""
    return "'" + value.replace("'", "'\\''") + "'"


@contextlib.contextmanager
def node(binds: Mapping[Path, str] | None = None, read_only: Mapping[Path, str] | None = None) -> Iterator[Node]:
    """Boots a node, with directories of the host bound to paths of the node, and yields it when systemd is done.

    A program needed for it that is missing skips the test (see ``need``).
    """
    for program, package in (("systemd-nspawn", "systemd-container"), ("ssh", "openssh-client")):
        need(shutil.which(program), f"{package} is not installed")
    image = node_root()
    name = f"cachewarmer-{os.getpid()}-{secrets.token_hex(3)}"
    place = Path(tempfile.mkdtemp(prefix="cachewarmer-node-"))
    made = Node(
        ssh_port=free_port(),
        key_path=place / "key",
        password=secrets.token_hex(8),
        root=place / "root",
        log=place / "log",
    )
    mounts = [f"--bind={source}:{target}" for source, target in (binds or {}).items()]
    mounts += [f"--bind-ro={source}:{target}" for source, target in (read_only or {}).items()]
    with contextlib.ExitStack() as stack, made.log.open("wb") as log:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.enter_context(_overlay(image, made.root, place))
        _furnish(made)
        command = ["systemd-nspawn", f"--directory={made.root}", f"--machine={name}", *mounts]
        command += ["--boot", "--keep-unit", "--register=no", "--settings=no", "--link-journal=no", "--console=pipe"]
        # It ends when this process does, even if that is killed.
        child = subprocess.Popen(
            ["sh", "-c", _in_cgroups(stack, name), "sh", "setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        stack.callback(stop, child, 30)
        wait_until(lambda: accepts(made.ssh_port), child, "the node", made.log, 90)
        stack.enter_context(_control_connection(made, log.fileno()))
        state = made.run("systemctl is-system-running --wait", check=False).stdout.strip()
        if state != "running":
            raise RuntimeError(f"the node is {state}: {made.run('systemctl --failed --no-pager', check=False).stdout}")
        made.run("chpasswd", stdin=f"root:{made.password}\nops:{made.password}")
        yield made


@contextlib.contextmanager
def _overlay(image: Path, root: Path, place: Path) -> Iterator[None]:
    """Makes ``root`` a writable copy of the image: an overlay mount, or really a copy where that is not possible."""
    for name in ("upper", "work", "root"):
        (place / name).mkdir()
    layers = f"lowerdir={image},upperdir={place / 'upper'},workdir={place / 'work'}"
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", layers, root], capture_output=True, check=False
    )
    if mounted.returncode:
        subprocess.run(["cp", "-a", "--reflink=auto", f"{image}/.", root], check=True)
        yield
        return
    try:
        yield
    finally:
        subprocess.run(["umount", root], check=True)


def _furnish(made: Node) -> None:
    """A name, the key that opens it, and a port for its sshd."""
    (made.root / "etc/hostname").write_text("node\n")
    (made.root / "etc/hosts").write_text("127.0.0.1 localhost node\n::1 localhost\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made.key_path], check=True)
    public = made.key_path.with_suffix(".pub").read_text()
    for home in ("root", "home/ops"):
        directory = made.root / home / ".ssh"
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "authorized_keys").write_text(public)
        owner = (made.root / home).stat()
        for path in (directory, directory / "authorized_keys"):
            os.chown(path, owner.st_uid, owner.st_gid)
    (made.root / "etc/ssh/sshd_config.d/node.conf").write_text(
        f"ListenAddress {made.address}:{made.ssh_port}\nPermitRootLogin yes\nMaxSessions 50\nMaxStartups 50\nUseDNS no\n"
    )


def _in_cgroups(stack: contextlib.ExitStack, name: str) -> str:
    """A shell line that moves itself into control groups of its own, then runs its arguments.

    Without, every node's systemd would build its tree of groups in the same place and take others' processes for its
    own. A machine that does not allow it runs one node at a time well all the same.
    """
    moves = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            top = CGROUPS / "systemd"
        elif controllers == "":
            top = CGROUPS / "unified" if (CGROUPS / "unified").is_dir() else CGROUPS
        else:
            continue
        group = top / path.lstrip("/") / name
        with contextlib.suppress(OSError):
            group.mkdir()
            stack.callback(_remove_groups, group)
            moves.append(f"echo $$ >{group}/cgroup.procs; ")
    return "".join(moves) + 'exec "$@"'


def _remove_groups(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


@contextlib.contextmanager
def _control_connection(made: Node, log: int) -> Iterator[None]:
    """One connection that the commands of ``run`` share: each costs milliseconds then."""
    control = made.key_path.with_name("control-root")
    command = made.ssh()
    child = subprocess.Popen(
        [*command[:-1], "-M", "-N", "-o", f"ControlPath={control}", command[-1]],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        wait_until(control.exists, child, "the connection to the node", made.log, 60)
        yield
    finally:
        stop(child)
