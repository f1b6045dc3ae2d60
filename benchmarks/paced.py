"""Reads every file below a directory once, at a fixed rate, and nothing else: what any reader through a mount can do.

usage: python -m benchmarks.paced TREE FILES_PER_SECOND
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence

THREADS = 2
CHUNK_BYTES = 1 << 20


def paths(tree: str) -> Iterator[str]:
    for folder, _, names in os.walk(tree):
        yield from (os.path.join(folder, name) for name in names)


def read(some: Sequence[tuple[int, str]], began: float, rate: float) -> None:
    """Reads (number, path): each not before its turn, and past the pages that the kernel has kept."""
    for number, path in some:
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        while os.read(descriptor, CHUNK_BYTES):
            pass
        os.close(descriptor)


def main() -> None:
    tree, rate = sys.argv[1], float(sys.argv[2])
    found = list(enumerate(paths(tree)))
    began = time.monotonic()
    threads = [threading.Thread(target=read, args=(found[one::THREADS], began, rate)) for one in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
