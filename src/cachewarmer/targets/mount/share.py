"""A kernel mount shared by all workers and processes of a machine.

For each mount, there are two small files in ``<root>/.cachewarmer``: ``KEY.lock``, which a process locks exclusively
while it mounts or unmounts, and ``KEY.users``, on which every reading process holds a shared lock. The kernel releases
both when a process ends, in whatever way. A third file, ``KEY.ours``, names the mount point that one of them made. So
the last process unmounts it, even if it was left by one that crashed; what somebody else mounted stays mounted.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import logging
import os
import random
import subprocess
import time
from dataclasses import replace
from typing import TypedDict

from cachewarmer.config import MountSettings
from cachewarmer.errors import CacheWarmerError, ConnectFailed, MountError, own_resource_error
from cachewarmer.paths import to_bytes
from cachewarmer.targets.base import Mount
from cachewarmer.targets.mount import table

log = logging.getLogger(__name__)

ATTEMPT_SECONDS = 60.0
"""Time limit of one run of mount(8), which with ``retry=30`` tries silently for half an hour."""
SILENT_SECONDS = 5.0
"""A run that takes longer than this is mentioned in the log."""
UNMOUNT_SECONDS = 10.0
FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS = 1.0, 30.0
_PERMANENT = (
    "access denied",
    "No such file or directory",
    "not permitted",
    "incorrect mount option",
    "unknown filesystem type",
    "No such device",
    "not supported",
    "invalid argument",
    "bad option",
    "Name or service not known",
    "Failed to resolve",
)
"""What mount.nfs prints (in the C locale) for permanent failures. Its exit status is always 32."""


class ErrorParts(TypedDict):
    """The parts that every error of a mount shares."""

    doing: str
    subject: bytes
    address: str


class SharedMount:
    """The right to read below ``path``, from ``acquire`` until ``release``."""

    def __init__(self, mount: Mount, settings: MountSettings) -> None:
        self.path = b""
        self._mount = mount
        self._root = os.path.realpath(settings.root)
        self._settings = replace(settings, root=self._root)
        self._state = os.path.join(self._root, ".cachewarmer")
        self._stem = os.path.join(self._state, table.key_of(mount))
        self._users = -1
        self._parts = ErrorParts(doing="mounting", subject=to_bytes(mount.export), address=mount.address)

    def __repr__(self) -> str:
        return f"<SharedMount {self._mount.address}:{self._mount.export} at {os.fsdecode(self.path) or 'nowhere'}>"

    async def acquire(self) -> None:
        """Finds or makes the mount, retrying for ``retry_seconds``, and sets ``path``.

        Raises:
            MountError: the export can't be mounted. ConnectFailed: the server did not answer in all that time.
            ConfigError: an option is invalid.
        """
        what = f"{self._mount.address}:{self._mount.export}"
        table.source_of(self._mount)
        table.options_of(self._mount, self._settings)
        deadline = time.monotonic() + self._settings.retry_seconds
        try:
            os.makedirs(self._state, mode=0o755, exist_ok=True)
            lock = await self._locked(deadline, what)
        except OSError as error:
            raise own_resource_error(error, **self._parts) or MountError(str(error), **self._parts) from error
        try:
            self._users = _open(self._stem + ".users")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            known = table.read_table()
            place = table.place_of(self._mount, self._settings)
            found = table.find(self._mount, self._settings, place, known)
            if found is None:
                await self._make(place, deadline, what)
                found = place
            self.path = found
        except OSError as error:
            self._let_go()
            raise own_resource_error(error, **self._parts) or MountError(str(error), **self._parts) from error
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(lock)
        atexit.register(self.release)

    async def _locked(self, deadline: float, what: str) -> int:
        fd = _open(self._stem + ".lock")
        said = False
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ConnectFailed(
                            "another process was mounting or unmounting it all that time", **self._parts
                        ) from None
                else:
                    return fd
                if not said:
                    log.info("another process is mounting or unmounting %s: waiting", what)
                    said = True
                await asyncio.sleep(0.1)
        except BaseException:
            os.close(fd)
            raise

    async def _make(self, place: bytes, deadline: float, what: str) -> None:
        self._remember(place)
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                # Again before each try, because the directories may have been replaced or mounted over since.
                table.prepare(self._root, place)
                await self._attempt(place, max(1.0, min(ATTEMPT_SECONDS, deadline - time.monotonic())), what)
            except CacheWarmerError as error:
                left = deadline - time.monotonic()
                if not error.transient or left <= delay:
                    self._forget(place)
                    raise
                log.warning("%s; trying again in %.0f s, for up to %.0f s more", error, delay, left)
            except BaseException:
                self._forget(place)
                raise
            else:
                log.info("mounted %s at %s", what, os.fsdecode(place))
                return
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(MOST_DELAY_SECONDS, delay * 2)

    async def _attempt(self, place: bytes, seconds: float, what: str) -> None:
        """Runs mount(8) once. Raises ``MountError``, or ``ConnectFailed`` if another try may help."""
        child = await asyncio.create_subprocess_exec(
            table.require("mount"),
            "-t",
            "nfs",
            "-o",
            table.options_of(self._mount, self._settings),
            "--",
            table.source_of(self._mount),
            place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
            start_new_session=True,
        )
        waits = asyncio.get_running_loop().call_later(SILENT_SECONDS, log.warning, "mounting %s: no answer yet", what)
        try:
            _, said = await asyncio.wait_for(child.communicate(), seconds)
        except TimeoutError:
            raise ConnectFailed(f"no answer for {seconds:.0f} s", **self._parts) from None
        finally:
            waits.cancel()
            # mount(8) runs mount.nfs as a child process: both must be killed.
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, 9)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(child.wait(), 2)
        if child.returncode == 0:
            return
        lines = [line.strip() for line in said.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("mount")), lines[0] if lines else "no reason given")
        error = MountError if any(one.lower() in reason.lower() for one in _PERMANENT) else ConnectFailed
        raise error(reason, **self._parts)

    # -- the way back ----------------------------------------------------------------------------------------------

    def release(self, *, hung: bool = False) -> None:
        """Gives up the right; the last process unmounts what one of them mounted. Idempotent.

        It blocks for up to 5 s for the lock, and then while it unmounts. With ``hung``, the server does not answer, and
        the unmount is lazy.
        """
        if self._users < 0:
            return
        atexit.unregister(self.release)
        try:
            lock = _open(self._stem + ".lock")
        except OSError:
            self._let_go()
            return
        try:
            if _tried(lock, 5.0) and _tried(self._users, 0.0):
                self._unmount(hung)
        finally:
            self._let_go()
            os.close(lock)

    def _unmount(self, hung: bool) -> None:
        try:
            with open(self._stem + ".ours", "rb") as file:
                place = file.read()
        except FileNotFoundError:
            return
        known = table.read_table()
        if any(one.mount_point == place and one.is_nfs for one in known):
            unmount(place, hung=hung)
        self._forget(place)

    def _remember(self, place: bytes) -> None:
        with open(self._stem + ".ours", "wb") as file:
            file.write(place)

    def _forget(self, place: bytes) -> None:
        """Removes the marker and the empty directories. rmdir refuses one that is still a mount point."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._stem + ".ours")
        root = os.fsencode(self._root)
        with contextlib.suppress(OSError):
            while place.startswith(root + b"/"):
                os.rmdir(place)
                place = os.path.dirname(place)

    def _let_go(self) -> None:
        if self._users >= 0:
            os.close(self._users)
            self._users = -1


def unmount(place: bytes, *, hung: bool = False) -> None:
    """Unmounts, lazily if it is busy or the server does not answer. Failures are logged."""
    program = table.tool("umount")
    if program is None:
        log.warning("%s stays mounted: umount is not installed", os.fsdecode(place))
        return
    # No canonicalizing and no helper: both would ask a server that may not answer.
    for flags in (["-f", "-l"],) if hung else ([], ["-f", "-l"]):
        command: list[str | bytes] = [program, "-i", "-c", *flags, "--", place]
        try:
            done = subprocess.run(  # noqa: S603 -- no shell, and -- ends the options
                command, check=False, capture_output=True, timeout=UNMOUNT_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("unmounting %s: %s", os.fsdecode(place), error)
            continue
        if done.returncode == 0:
            log.info("unmounted %s", os.fsdecode(place))
            return
    log.warning("%s could not be unmounted", os.fsdecode(place))


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def _tried(fd: int, seconds: float) -> bool:
    """Tries to get an exclusive lock for ``seconds``; returns whether it did."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
