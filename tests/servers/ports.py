"""Free ports of the loopback interface, waiting for servers, and a place for what tests download."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NO_IMDS = "http://127.0.0.1:9"
"""Where the workers of a test look for a metadata service: nobody listens at the port of discard."""


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on. Below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    for port in _candidates():
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def _candidates() -> Iterator[int]:
    # Every process starts elsewhere and no port comes twice, so parallel test runs do not meet.
    global _next_port
    for _ in range(2000):
        _next_port = 20000 + (_next_port + 1 - 20000) % 12000
        yield _next_port


_next_port = 20000 + (os.getpid() * 37 + time.monotonic_ns() // 1_000_000) % 12000


def accepts(port: int, address: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(
    ready: Callable[[], bool], child: subprocess.Popen[bytes], what: str, log: Path, seconds: float = 90
) -> None:
    """Polls until ``ready``; RuntimeError with the end of the log if the child ends or time runs out."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None or time.monotonic() > deadline:
            why = "did not become ready" if child.poll() is None else f"ended with {child.returncode}"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{what} {why}\n{tail}")
        time.sleep(0.05)


def stop(child: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """Ends a child that we started: SIGTERM, then SIGKILL."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def cache_directory() -> Path:
    """Where downloaded test servers are kept between runs: ``CACHEWARMER_TEST_CACHE``, else ``.cache`` in the checkout."""
    path = Path(os.environ.get("CACHEWARMER_TEST_CACHE") or REPOSITORY / ".cache")
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock among all test processes of this machine that share the cache directory."""
    with (cache_directory() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
