"""Clients of a cache, run on the host: our program, and one that is not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

from tests.kernel.origin import LARGE_BYTES, SMALL_BYTES, SMALL_FILES
from tests.servers.need import need


def warm_through(path: str, port: int, mount_port: int, *options: str) -> dict[str, Any]:
    """Warms a path of the cache behind these ports of the loopback interface; what ``--json`` reports."""
    target = f"nfs://127.0.0.1{path}?nfsport={port}&mountport={mount_port}"
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "warm", "--transport", "nfs", "--json", target, *options],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


def read_tree(path: str, port: int, mount_port: int) -> None:
    """Reads every file of ``origin.make_tree`` there with libnfs, and checks that all of it comes."""
    need(shutil.which("nfs-cat"), "libnfs-utils is not installed")
    small = [(f"d{number % 3}/f{number}", SMALL_BYTES) for number in range(SMALL_FILES)]
    for name, size in [*small, ("large", LARGE_BYTES)]:
        url = f"nfs://127.0.0.1{path}/{name}?version=3&nfsport={port}&mountport={mount_port}"
        read = subprocess.run(["nfs-cat", url], capture_output=True, timeout=60, check=False)
        assert len(read.stdout) == size, read.stderr
