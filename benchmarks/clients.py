"""One client reads one tree, in a process of its own, and says what it cost as a line of JSON.

    python -m benchmarks.clients direct|nfs-rs ADDRESS NFS_PORT MOUNT_PORT EXPORT CONCURRENCY

Both list the tree and then read every byte of every file; connecting is not counted, listing is.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.programs import Place
from cachewarmer.config import NfsSettings
from cachewarmer.targets.base import FileKind, ReadRequest, Session
from cachewarmer.targets.nfs3.session import open_nfs3

if TYPE_CHECKING:
    import nfs_rs

PIECE = 1 << 20


class Cost:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self._began = time.monotonic()
        self._cpu = self._used()

    @staticmethod
    def _used() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def line(self) -> str:
        """The result."""
        return json.dumps(
            {
                "files": self.files,
                "bytes": self.bytes,
                "seconds": time.monotonic() - self._began,
                "cpu_seconds": self._used() - self._cpu,
            }
        )


async def direct(place: Place, window: int) -> str:
    """The direct reader, alone: no plan, no broker."""
    session = await open_nfs3(place.mount(), NfsSettings(window_calls=window))
    cost = Cost()
    finished = asyncio.Event()
    waiting = 1

    def done(request: ReadRequest) -> None:
        nonlocal waiting
        if request.error is not None:
            raise request.error
        cost.files += 1
        cost.bytes += request.bytes_read
        waiting -= 1
        if not waiting:
            finished.set()

    async def walk(session: Session, path: bytes, handle: bytes) -> None:
        nonlocal waiting
        async for page in session.list_directory(path, handle):
            for entry in page.entries:
                below = path + b"/" + entry.name if path else entry.name
                if entry.kind is FileKind.DIRECTORY:
                    await walk(session, below, entry.handle)
                elif entry.kind is FileKind.REGULAR:
                    waiting += 1
                    session.read(ReadRequest(below, entry.handle, 0, entry.size, done))

    await walk(session, b"", b"")
    waiting -= 1
    if waiting:
        await finished.wait()
    line = cost.line()
    await session.close()
    return line


async def peer(place: Place, readers: int) -> str:
    """nfs-rs with that many concurrent readers, each with its own buffer."""
    import nfs_rs  # noqa: PLC0415 -- only the benchmark needs it

    client = await nfs_rs.AsyncClient.connect(
        f"nfs://{place.address}{place.export}",
        versions=["3"],
        nfs_port=place.nfs_port,
        mount_port=place.mount_port,
        noresvport=True,
    )
    cost = Cost()
    found: asyncio.Queue[nfs_rs.DirEntry | None] = asyncio.Queue()

    async def walk(path: nfs_rs.DirEntry | str) -> None:
        async for entry in client.scandir(path):
            assert entry.info is not None
            if entry.info.type is nfs_rs.FileType.DIRECTORY:
                await walk(entry)
            elif entry.info.type is nfs_rs.FileType.FILE:
                found.put_nowait(entry)

    async def read() -> None:
        buffer = bytearray(PIECE)
        while (entry := await found.get()) is not None:
            assert entry.info is not None
            offset, size = 0, entry.info.size
            async with await client.open(entry.path) as file:
                while offset < size:
                    count = await file.readinto_at(buffer, offset)
                    if not count:
                        break
                    offset += count
            cost.files += 1
            cost.bytes += offset

    reading = [asyncio.create_task(read()) for _ in range(readers)]
    await walk("/")
    for _ in reading:
        found.put_nowait(None)
    await asyncio.gather(*reading)
    line = cost.line()
    await client.close()
    return line


def main() -> None:
    """See the module."""
    kind, address, nfs_port, mount_port, export, concurrency = sys.argv[1:]
    place = Place(int(nfs_port), int(mount_port), export, address)
    if kind == "direct":
        try:
            import uvloop  # noqa: PLC0415 -- as the command does, where it is installed
        except ImportError:
            print(asyncio.run(direct(place, int(concurrency))))
        else:
            print(uvloop.run(direct(place, int(concurrency))))
    else:
        print(asyncio.run(peer(place, int(concurrency))))


if __name__ == "__main__":
    main()
