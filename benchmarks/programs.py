"""The programs in C that benchmarks compare with, from ``benchmarks/c/``: built when they are needed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cachewarmer.targets.base import Mount

SOURCES = Path(__file__).parent / "c"


@dataclass(frozen=True, slots=True)
class Place:
    """A server that runs, whichever it is."""

    nfs_port: int
    mount_port: int
    export: str
    address: str = "127.0.0.1"

    def target(self) -> str:
        return f"nfs://{self.address}{self.export}?nfsport={self.nfs_port}&mountport={self.mount_port}"

    def mount(self) -> Mount:
        """What a session of the direct reader is opened with."""
        return Mount(
            address=self.address,
            export=self.export,
            path=self.export,
            nfs_port=self.nfs_port,
            mount_port=self.mount_port,
        )


@contextlib.contextmanager
def built(*names: str) -> Iterator[Path]:
    """A directory with the programs of these names."""
    if not shutil.which("gcc"):
        raise SystemExit("the benchmark needs a C compiler (apt-get install gcc libc6-dev)")
    if "libnfs_read" in names and not Path("/usr/include/nfsc/libnfs-raw.h").exists():
        raise SystemExit("the benchmark needs libnfs (apt-get install libnfs-dev)")
    with tempfile.TemporaryDirectory() as into:
        for name in names:
            libraries = ["-lnfs"] if name == "libnfs_read" else []
            program = Path(into) / name
            subprocess.run(["gcc", "-O2", "-std=gnu11", "-o", program, SOURCES / f"{name}.c", *libraries], check=True)
        yield Path(into)


@dataclass(frozen=True, slots=True)
class Model:
    """A cache: its threads, how far away its origin is, and the link to that in bits a second (0: any number)."""

    threads: int
    milliseconds: float
    bits_per_second: float = 0


class MemoryServer:
    """The server that answers from memory, which may be the model of a cache: see ``c/memory_server.c``."""

    def __init__(self, programs: Path, directories: int, files: int, size: int, model: Model | None = None) -> None:
        shape: list[float] = [directories, files, size]
        if model is not None:
            shape += [model.threads, model.milliseconds, int(model.bits_per_second)]
        self._process = subprocess.Popen(
            [programs / "memory_server", *map(str, shape)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        port = int(self._line())
        self.place = Place(port, port, "/warm")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def read(self) -> tuple[int, int]:
        """How many READs a model has answered, and of how many bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        reads, size = self._line().split()
        return int(reads), int(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
