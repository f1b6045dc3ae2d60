"""A virtual machine with a real kernel: QEMU without acceleration, loopback only, stopped by pid."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.image import image, pack_program
from tests.servers.ports import free_port, stop

HOST = "10.0.2.2"
"""Where a guest finds the host's loopback interface."""
BOOT_SECONDS = 90.0
"""When to give up; a boot takes about five."""


@dataclass(frozen=True)
class Ran:
    """What a command in the guest did."""

    code: int
    out: str
    err: str


class Guest:
    """A booted guest."""

    def __init__(self, control: socket.socket, console: Path, ports: Mapping[int, int]) -> None:
        self.ports = dict(ports)
        """Host port of each forwarded guest port."""
        self.console = console
        self.release = ""
        self.boot_seconds = 0.0
        self._control = control
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Ran]] = {0: Future()}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._control.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                with self._lock:
                    future = self._waiting.pop(said["id"])
                future.set_result(Ran(said["code"], said["out"], said["err"]))
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
        for future in left:
            future.set_exception(RuntimeError(f"the guest is gone\n{self.log()}"))

    def log(self) -> str:
        """The end of the console."""
        return self.console.read_text(errors="replace")[-3000:] if self.console.exists() else ""

    def booted(self) -> None:
        """Waits until the guest takes commands."""
        begun = time.monotonic()
        try:
            self.release = self._waiting[0].result(BOOT_SECONDS).out
        except TimeoutError:
            raise RuntimeError(f"the guest did not boot\n{self.log()}") from None
        self.boot_seconds = time.monotonic() - begun

    def start(self, command: str, seconds: float = 300) -> Future[Ran]:
        """Begins a shell command; several run side by side."""
        number = next(self._numbers)
        future: Future[Ran] = Future()
        with self._lock:
            self._waiting[number] = future
        self._control.sendall(json.dumps({"id": number, "command": command, "seconds": seconds}).encode() + b"\n")
        return future

    def run(self, command: str, seconds: float = 300, *, check: bool = True) -> Ran:
        """A shell command, to its end."""
        ran = self.start(command, seconds).result(seconds + 30)
        if check and ran.code:
            raise RuntimeError(f"{command!r} ended with {ran.code}\n{ran.out[-2000:]}\n{ran.err[-2000:]}\n{self.log()}")
        return ran

    def cachewarmer(self, *arguments: str, seconds: float = 300, check: bool = True) -> Ran:
        """Our program inside."""
        return self.run(f"python3 -m cachewarmer {shlex.join(arguments)}", seconds, check=check)


@contextlib.contextmanager
def guest(name: str, *, memory_mib: int = 512, forward: tuple[int, ...] = ()) -> Iterator[Guest]:
    """Boots a guest whose ``forward`` ports are reachable on the host's loopback interface."""
    made = image()
    place = Path(tempfile.mkdtemp(prefix=f"guest-{name}-"))
    ports = {one: free_port() for one in forward}
    program = place / "program.tar"
    pack_program(program)
    here, there = socket.socketpair()
    console = place / "console"
    with contextlib.ExitStack() as stack, (place / "stderr").open("wb") as errors:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.callback(here.close)
        child = subprocess.Popen(
            [
                *virtual_machine(made.kernel, made.initramfs, memory_mib),
                *("-drive", f"if=virtio,format=raw,file={made.root},snapshot=on"),
                *("-drive", f"if=virtio,format=raw,file={program},readonly=on"),
                *("-serial", f"file:{console}"),
                *("-device", "virtio-serial-pci", "-chardev", f"socket,id=control,fd={there.fileno()}"),
                *("-device", "virtserialport,chardev=control,name=control"),
                *user_network(ports),
            ],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "TMPDIR": str(place)},
        )
        there.close()
        stack.callback(stop, child)
        machine = Guest(here, console, ports)
        try:
            machine.booted()
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{(place / 'stderr').read_text(errors='replace')}") from None
        yield machine


def virtual_machine(kernel: Path, initramfs: Path, memory_mib: int) -> list[str | Path]:
    """The command for a machine of two emulated cores that boots this kernel; disks and all else are still to be given."""
    return [
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory_mib)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"),
        *("-kernel", kernel, "-initrd", initramfs),
        *("-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0"),
    ]


def user_network(ports: Mapping[int, int]) -> list[str]:
    """The flags for a network that knows only the host's loopback interface, as ``HOST``, and leads these ports in."""
    forwards = [f"hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for inside, outside in ports.items()]
    return ["-device", "virtio-net-pci,netdev=net,romfile=", "-netdev", ",".join(["user,id=net", *forwards])]
