"""Tells which process holds a lease and whether it still exists, so that nobody has to wait for a killed process."""

from __future__ import annotations

import os
import socket


def own_name() -> str:
    """A name for this process that no other has: host, boot id, pid namespace, pid and start time."""
    return ":".join([*_here(), str(os.getpid()), _started(os.getpid())])


def is_gone(name: str) -> bool:
    """Whether the process ``name`` has certainly ended. False: it exists, or only its lease can tell."""
    try:
        host, boot, namespace, pid, started = name.rsplit(":", 4)
        number = int(pid)
    except (ValueError, TypeError):  # the file may hold anything
        return False
    own_host, own_boot, own_namespace = _here()
    if host != own_host:
        return False
    if boot != own_boot:
        return True  # this machine has been restarted since
    if namespace != own_namespace:
        return False  # another container: its processes can't be seen from here
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    except OverflowError:  # no process has such a number
        return False
    now = _started(number)
    return bool(now and started and now != started)


def _here() -> tuple[str, str, str]:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    try:
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        namespace = ""
    return socket.gethostname().replace(":", "_"), boot, namespace


def _started(pid: int) -> str:
    """Start time in clock ticks since boot (proc(5), field 22 of stat); ``ended``: a zombie; empty: unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    if after_name[0] == b"Z":
        return "ended"
    return after_name[19].decode()
