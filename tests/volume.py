"""A directory that behaves as a JuiceFS mount does that is asked to fill its cache: the cache is a set of inodes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence

from cachewarmer.targets.local.control import Action, Answer, Control, Progress, Refused
from cachewarmer.targets.local.filling import Volumes
from cachewarmer.targets.local.session import LocalSession


class Volume(Control):
    """``keeps`` says of each inode whether the cache keeps it when it is asked for; ``gone`` inodes are not found."""

    def __init__(self, root: bytes, keeps: Callable[[int], bool] = lambda _: True) -> None:
        super().__init__(root)
        self.keeps = keeps
        self.gone: set[int] = set()
        self.cached: set[int] = set()
        self.asked: list[tuple[Action, tuple[int, ...]]] = []
        self.threads: set[int] = set()
        self.refusal = ""
        self.going = threading.Event()
        """While it is not set, nothing is answered."""
        self.going.set()
        self.began = threading.Event()

    @property
    def filled(self) -> list[int]:
        """How many files each message asked for."""
        return [len(inodes) for action, inodes in self.asked if action is Action.FILL]

    def ask(
        self,
        action: Action,
        inodes: Sequence[int],
        threads: int,
        alive: Callable[[Progress | None], bool] = lambda _: True,
    ) -> Answer | None:
        if self.refusal:
            raise Refused(self.refusal)
        self.asked.append((action, tuple(inodes)))
        self.threads.add(threads)
        self.began.set()
        while not self.going.wait(0.001):
            if not alive(Progress(0, 0)):
                return None
        sizes = dict(self._sizes())
        there = [inode for inode in inodes if inode in sizes and inode not in self.gone]
        if action is Action.FILL:
            self.cached |= {inode for inode in there if self.keeps(inode)}
        missing = sum(sizes[inode] for inode in there if inode not in self.cached)
        return Answer(len(there), sum(sizes[inode] for inode in there), missing)

    def fetched(self) -> float:
        return 0.0

    def _sizes(self) -> Iterator[tuple[int, int]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                status = os.lstat(os.path.join(folder, name))
                yield status.st_ino, status.st_size


def asks(session: LocalSession, volume: Volume) -> None:
    """Lets a session take its directory for that volume."""
    device = os.stat(volume.root).st_dev
    session.fill_by(Volumes(lambda: {device: volume}), volume.root)
