"""A scripted NFSv3 server on loopback: MOUNT3 and NFS3 on one TCP port, no portmapper."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cachewarmer.testing.faults import Faults
from cachewarmer.testing.link import FaultyLink, Link
from cachewarmer.testing.procedures import Procedures
from cachewarmer.testing.tree import MemoryTree, ServedTree, Tree

_GOOD = Faults()


class ScriptedServer:
    """Serves ``tree``, with ``faults``, as long as its ``async with`` block runs.

    ``exports[0]`` is where the root of the tree stands; further exports are directories below it. Only loopback
    addresses make sense for ``host``: everyone who connects is answered.
    """

    def __init__(
        self,
        tree: Tree | ServedTree,
        faults: Faults = _GOOD,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        exports: Sequence[str] = ("/export",),
    ) -> None:
        self.tree = tree if isinstance(tree, ServedTree) else MemoryTree(tree)
        self.faults = faults
        self.host = host
        self.port = port
        """0 until it listens, unless it was given."""
        self.procedures = Procedures(self.tree, faults, exports)
        self.connections = 0
        """How many there were."""
        self._tricks = 0
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def calls(self) -> Counter[str]:
        """Calls received, by procedure; those of MOUNT are MNT, UMNT, EXPORT and MOUNT_NULL."""
        return self.procedures.calls

    @property
    def read_bytes(self) -> int:
        """Payload bytes of all READ replies."""
        return self.procedures.read_bytes

    @property
    def complaints(self) -> list[str]:
        """What clients did against the rules of the protocols."""
        return self.procedures.complaints

    def url(self, path: str = "", **query: object) -> str:
        """TARGET of a path below the first export (``""``: the export itself)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        whole = "/".join(part for part in (self.procedures.exports[0].strip("/"), path.strip("/")) if part)
        ports: dict[str, object] = {"nfsport": self.port, "mountport": self.port, **query}
        return f"nfs://{host}/{quote(whole)}?" + "&".join(f"{key}={value}" for key, value in ports.items())

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.get_running_loop().create_server(self._connected, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _connected(self) -> Link:
        self.connections += 1
        if self._is_fast:
            return Link(self.procedures, self._links)
        return FaultyLink(
            self.procedures, self._links, self.faults, self._may_trick, self.faults.seed + self.connections
        )

    @property
    def _is_fast(self) -> bool:
        faults = self.faults
        return not (faults.fragments or faults.small_writes or faults.read_delay or faults.list_delay or faults.trick)

    def _may_trick(self) -> bool:
        self._tricks += 1
        return self.faults.trick_times < 0 or self._tricks <= self.faults.trick_times

    async def close(self) -> None:
        """Ends every connection and listens no more."""
        if self._server is None:
            return
        self._server.close()
        for link in list(self._links):
            link.transport.abort()
        await self._server.wait_closed()
        self._server = None
        # connection_lost of what was aborted comes in the loop's next turn.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
