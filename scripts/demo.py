"""Shows the whole of it: a small generated tree, served by a real local NFS server, warmed.

From disk where no NFS server can be started. Everything is made in a temporary directory and removed again.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def make_tree(root: Path) -> None:
    """Some 2,000 files as a shot has them: frames, textures, a few large caches."""
    sizes = random.Random(42)
    for shot in range(20):
        frames = root / f"shot{shot:02d}" / "frames"
        frames.mkdir(parents=True)
        for frame in range(100):
            count = min(1 << 20, int(sizes.lognormvariate(9.5, 1.0)))
            (frames / f"beauty.{frame:04d}.exr").write_bytes(os.urandom(1024) * (count // 1024 + 1))
        with (root / f"shot{shot:02d}" / "sim.vdb").open("wb") as file:
            file.truncate(24 << 20)


@contextlib.contextmanager
def served(root: Path) -> Iterator[str]:
    """The TARGET of the tree: over NFS if it can be, else the directory."""
    if os.geteuid() or not shutil.which("ganesha.nfsd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"):
        print("no NFS server can be started here (that needs root and nfs-ganesha): warming from disk", flush=True)
        yield str(root)
        return
    from tests.servers.ganesha import ganesha

    with ganesha(root) as server:
        yield server.target()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cachewarmer-demo-") as base:
        root = Path(base) / "projects"
        make_tree(root)
        with served(root) as target:
            command = [sys.executable, "-m", "cachewarmer", "warm", target]
            print(f"$ cachewarmer warm '{target}'", flush=True)
            environment = os.environ | {"XDG_STATE_HOME": str(Path(base) / "state")}
            return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
