"""``--window auto`` against fixed windows, before a modelled cache: T server threads, an origin some milliseconds away.

    python -m benchmarks.knee [THREADS MILLISECONDS]…

Every call needs a thread of the cache, and a READ keeps it for the time of the origin. Printed for each window: files a
second from the tenth second after the first READ on, and how long another client's GETATTR, which the cache answers by itself, takes at p90,
before and during. A window is *polite* if that stays below three times its idle value plus 2 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cachewarmer import eventloop
from cachewarmer.config import Settings
from cachewarmer.targets import open_session
from cachewarmer.targets.base import Mount, Session
from cachewarmer.testing import ScriptedServer, SyntheticTree

MODELS = ((8, 20), (64, 20), (512, 20))
FILES = 1_000_000
SETTLE_SECONDS = 10.0
MEASURE_SECONDS = 5.0
PROBE_SECONDS = 0.02
READ = 6
_HEAD = struct.Struct(">IIIIIII")
"""Mark, xid, mtype, RPC version, program, version, procedure (RFC 5531 section 9)."""


# -- the modelled cache ----------------------------------------------------------------------------------------------


class Threads:
    """Gives the cache's threads to calls in the order in which they came."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Callable[[], None]] = deque()
        self.reads = 0

    def take(self, begin: Callable[[], None]) -> None:
        if self._free:
            self._free -= 1
            begin()
        else:
            self._waiting.append(begin)

    def give_back(self) -> None:
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1


def records(buffer: bytearray) -> list[bytes]:
    """Takes the whole records, marks included, from the front of a buffer; each is one fragment here."""
    whole, position = [], 0
    while len(buffer) - position >= 4:
        end = position + 4 + (int.from_bytes(buffer[position : position + 4], "big") & 0x7FFFFFFF)
        if end > len(buffer):
            break
        whole.append(bytes(buffer[position:end]))
        position = end
    del buffer[:position]
    return whole


async def gate(
    threads: Threads, origin_seconds: float, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One client's connection through the cache to the server behind it."""
    loop = asyncio.get_running_loop()
    answers, behind = await asyncio.open_connection("127.0.0.1", port)

    def begin(record: bytes, is_read: bool) -> None:
        if is_read:
            loop.call_later(origin_seconds, behind.write, record)
        else:
            behind.write(record)

    async def ask() -> None:
        buffer = bytearray()
        while piece := await reader.read(1 << 18):
            buffer += piece
            for record in records(buffer):
                is_read = _HEAD.unpack_from(record)[6] == READ
                threads.reads += is_read
                threads.take(partial(begin, record, is_read))

    async def answer() -> None:
        buffer = bytearray()
        while piece := await answers.read(1 << 18):
            buffer += piece
            whole = records(buffer)
            writer.write(b"".join(whole))
            for _ in whole:
                threads.give_back()

    asking, answering = asyncio.create_task(ask()), asyncio.create_task(answer())
    with contextlib.suppress(OSError):
        await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    await asyncio.sleep(1)  # what holds threads is answered, and gives them back
    answering.cancel()
    behind.close()
    writer.close()


async def serve(thread_count: int, origin_seconds: float, files: int = FILES) -> None:
    """Serves; prints the count of READs for every line of standard input."""
    threads = Threads(thread_count)
    loop = asyncio.get_running_loop()
    async with ScriptedServer(SyntheticTree(files, flat=False)) as server:
        front = await asyncio.start_server(
            lambda reader, writer: gate(threads, origin_seconds, server.port, reader, writer), "127.0.0.1", 0
        )
        ended = asyncio.Event()

        def tell() -> None:
            if not os.read(0, 100):
                ended.set()
            sys.stdout.write(f"{threads.reads}\n")
            sys.stdout.flush()

        print(json.dumps({"nfs": front.sockets[0].getsockname()[1], "mount": server.port}), flush=True)
        loop.add_reader(0, tell)
        await ended.wait()
        os._exit(0)


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """One window at one cache."""

    window: str
    files_rate: float
    idle_seconds: float
    during_seconds: float

    @property
    def polite(self) -> bool:
        return self.during_seconds <= 3 * self.idle_seconds + 0.002

    def __str__(self) -> str:
        mark = "" if self.polite else "  (others wait)"
        idle, during = 1000 * self.idle_seconds, 1000 * self.during_seconds
        return f"| {self.window:>5} | {self.files_rate:7.0f} | {idle:5.1f} → {during:.1f} ms{mark} |"


async def others(session: Session, seconds: float) -> float:
    """p90 of another client's calls."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        await session.lookup(b"")
        times.append(time.monotonic() - began)
        await asyncio.sleep(PROBE_SECONDS)
    return sorted(times)[int(0.9 * (len(times) - 1))]


async def measure(threads: int, milliseconds: int, window: str) -> Outcome:
    """Warms with one window for some seconds, before a cache of its own."""
    command = [sys.executable, "-m", "benchmarks.knee", "serve", str(threads), str(milliseconds)]
    cache = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert cache.stdin is not None
    assert cache.stdout is not None
    ports = json.loads(cache.stdout.readline())

    def reads() -> int:
        assert cache.stdin is not None
        assert cache.stdout is not None
        cache.stdin.write("\n")
        cache.stdin.flush()
        return int(cache.stdout.readline())

    mount = Mount(
        address="127.0.0.1", transport="nfs", export="/export", nfs_port=ports["nfs"], mount_port=ports["mount"]
    )
    session = await open_session(mount, Settings())
    idle = await others(session, 2.0)
    with tempfile.TemporaryDirectory() as state:
        target = f"nfs://127.0.0.1/export?nfsport={ports['nfs']}&mountport={ports['mount']}"
        warm = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "cachewarmer", "warm", target, "-q", "--window", window],
            env={**os.environ, "XDG_STATE_HOME": state},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not reads():  # the scan comes first, and the start of Python
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_SECONDS)
        before, began = reads(), time.monotonic()
        during = await others(session, MEASURE_SECONDS)
        rate = (reads() - before) / (time.monotonic() - began)
        warm.kill()
        warm.wait()
    await session.close()
    cache.kill()
    cache.wait()
    return Outcome(window, rate, idle, during)


async def compare(threads: int, milliseconds: int) -> None:
    """All windows at one cache, one after the other."""
    fixed = sorted({max(1, threads // 2), threads - 1, 16, 64, min(256, 2 * threads)})
    print(
        f"\n{threads} threads, origin {milliseconds} ms away\n\n| window | files/s | another client |\n| --- | --- | --- |"
    )
    outcomes = []
    for window in ["auto", *map(str, fixed)]:
        outcomes.append(await measure(threads, milliseconds, window))
        print(outcomes[-1], flush=True)
    polite = [one.files_rate for one in outcomes[1:] if one.polite]
    if polite:
        share = outcomes[0].files_rate / max(polite)
        print(f"\nauto: {100 * share:.0f} % of the best polite window{'' if outcomes[0].polite else ', not polite'}")


def main() -> None:
    """See the module."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"]:
        eventloop.run(serve(int(arguments[1]), int(arguments[2]) / 1000, *map(int, arguments[3:])))
        return
    numbers = [int(one) for one in arguments]
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for threads, milliseconds in list(zip(numbers[::2], numbers[1::2], strict=True)) or MODELS:
        asyncio.run(compare(threads, milliseconds))


if __name__ == "__main__":
    main()
