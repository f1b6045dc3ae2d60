"""The far server, and counting proxies that run beside a test that has no event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewarmer.testing.proxy import CountingProxy
from tests.servers.ganesha import GaneshaServer, ganesha

SMALL_FILES, SMALL_BYTES, LARGE_BYTES = 60, 13_000, 3_000_000
BYTES = SMALL_FILES * SMALL_BYTES + LARGE_BYTES
FILES = SMALL_FILES + 1


def make_tree(root: Path) -> None:
    """Small files in three directories, and one large file."""
    for number in range(SMALL_FILES):
        path = root / f"d{number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(SMALL_BYTES))
    (root / "large").write_bytes(os.urandom(LARGE_BYTES))


@contextlib.contextmanager
def counting(host: str, port: int, *, delay_seconds: float = 0.0, listen_port: int = 0) -> Iterator[CountingProxy]:
    """A proxy whose loop runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = CountingProxy(host, port, delay_seconds=delay_seconds, listen_port=listen_port)
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def exported_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to export, which everyone may look into, with the tree at ``tree``."""
    root = tmp_path_factory.mktemp("origin")
    root.chmod(0o755)
    make_tree(root / "tree")
    return root


@contextlib.contextmanager
def far_server(
    tmp_path_factory: pytest.TempPathFactory, *, delay_seconds: float = 0.0
) -> Iterator[tuple[GaneshaServer, CountingProxy]]:
    """NFS-Ganesha with the tree, and the proxy before its NFS port."""
    root = exported_tree(tmp_path_factory)
    with ganesha(root) as server, counting("127.0.0.1", server.nfs_port, delay_seconds=delay_seconds) as proxy:
        yield server, proxy


class Counted:
    """What passed a proxy since this was made."""

    def __init__(self, proxy: CountingProxy) -> None:
        self._proxy = proxy
        self._calls = proxy.calls.copy()
        self._bytes = proxy.read_answered

    @property
    def read_bytes(self) -> int:
        return self._proxy.read_answered - self._bytes

    @property
    def by_procedure(self) -> Counter[str]:
        return self._proxy.calls - self._calls

    @property
    def calls(self) -> int:
        """All but NULLs, which a canary sends by the clock, however many files there are."""
        return self.by_procedure.total() - self.by_procedure["NULL"]

    @property
    def reads(self) -> int:
        return self.by_procedure["READ"]
