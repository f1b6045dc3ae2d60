"""``python -m cachewarmer.testing``: serves a synthetic tree until SIGTERM, SIGINT, or the end of standard input."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

from cachewarmer.testing.server import ScriptedServer
from cachewarmer.testing.synthetic import SyntheticTree


def main() -> None:
    """Parses the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m cachewarmer.testing", description=__doc__)
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--million-flat", action="store_true", help="one directory that holds every file")
    shape.add_argument("--million-tree", action="store_true", help="a hundred files in each directory")
    parser.add_argument("--entries", type=int, default=1_000_000, help="files (default: 1000000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any that is free)")
    chosen = parser.parse_args()
    tree = SyntheticTree(chosen.entries, flat=chosen.million_flat)
    try:
        import uvloop  # noqa: PLC0415 -- where it is installed
    except ImportError:
        asyncio.run(_serve(tree, chosen.host, chosen.port))
    else:
        uvloop.run(_serve(tree, chosen.host, chosen.port))


async def _serve(tree: SyntheticTree, host: str, port: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    watched = _watch_input(loop, ended)
    async with ScriptedServer(tree, host=host, port=port) as server:
        files, size, directories = tree.totals
        line = {
            "export": "/export",
            "nfs_port": server.port,
            "mount_port": server.port,
            "target": server.url(),
            "files": files,
            "bytes": size,
            "directories": directories,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await ended.wait()
    if watched:
        loop.remove_reader(sys.stdin.fileno())


def _watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> bool:
    """Sets ``ended`` at the end of standard input; False where that can't be watched (/dev/null, a file)."""

    def readable() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            ended.set()

    try:
        loop.add_reader(sys.stdin.fileno(), readable)
    except (OSError, ValueError, AttributeError):
        return False
    return True


if __name__ == "__main__":
    main()
