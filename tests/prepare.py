"""What tests need that takes minutes to build, built beside the first tests of a whole run: ``python -m tests.prepare``.

Each part is kept in the cache directory and built under a lock of its own, so a test that needs one before it is there
waits for it; and one that can't be built here is tried again, and complained about, by the first test that needs it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _pytest.outcomes import OutcomeException

from tests.deploy.bundle import bundle
from tests.deploy.node_image import machine_root, minimal_root, node_root, old_root
from tests.kernel.image import image

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """Builds in a process of its own until the block ends; what is unfinished then is given up."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.prepare"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as builder:
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(builder.pid, signal.SIGKILL)


def _build(parts: tuple[Callable[[], object], ...]) -> None:
    for part in parts:
        with contextlib.suppress(OutcomeException, OSError, RuntimeError, subprocess.CalledProcessError):
            part()


if __name__ == "__main__":
    with ThreadPoolExecutor() as threads:
        list(threads.map(_build, [(bundle,), (image, node_root, machine_root, minimal_root, old_root)]))
