"""Finds all files of a USD scene. Runs as a process of its own: ``python -m cachewarmer.planning.usd_layers``.

OpenUSD writes its own messages to standard error, and may crash on a broken layer; neither must affect the command that
needs the files. The arguments are the scene and the rules of ``--map``. Standard output gets records that end with NUL:
``+`` and the path of a file, or, for a file that can't be read, ``!``, the reason, a tab and its path.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from cachewarmer.paths import to_bytes, to_text
from cachewarmer.planning.pathmap import PathMap

LAYERS = (".usd", ".usda", ".usdc")
PACKAGE = ".usdz"
TILE = "<UDIM>"
NOT_THERE = "the scene names it, and it is not there"


class Scene:
    """The files of a scene: those that it names, and those that they name in turn, each once."""

    def __init__(self, path_map: PathMap) -> None:
        from pxr import Ar, Sdf, UsdUtils

        self._map = path_map
        self._sdf: Any = Sdf
        self._resolver: Any = Ar.GetResolver()
        self._references: Any = UsdUtils.ExtractExternalReferences
        self._options: Any = UsdUtils.ExtractExternalReferencesParams()
        self._options.SetResolveUdimPaths(True)
        self._seen: set[str] = set()
        self._pending: deque[str] = deque()

    def records(self, root: str) -> Iterator[str]:
        """Yields the records of the scene ``root``, layer by layer, in the order in which a layer names its files."""
        yield from self._found(os.path.abspath(root))
        while self._pending:
            path = self._pending.popleft()
            try:
                layer = self._sdf.Layer.FindOrOpen(path)
                parts = self._references(path, self._options) if layer else ()
            except Exception:  # noqa: BLE001  # Tf.ErrorException and whatever a plugin raises: this layer is broken
                layer = None
            if not layer:
                yield f"!the layer can't be read: what it names is not known\t{path}"
                continue
            for authored in (one for part in parts for one in part if one):
                yield from self._named(layer, authored)

    def _named(self, layer: Any, authored: str) -> Iterator[str]:
        path, _ = self._sdf.Layer.SplitIdentifier(authored)
        anchored = self._sdf.ComputeAssetPathRelativeToLayer(layer, path)
        for candidate in dict.fromkeys((anchored, self._mapped(path), self._mapped(anchored))):
            found = self._there(candidate)
            if found:
                for one in found:
                    yield from self._found(one)
                return
        if anchored not in self._seen:
            self._seen.add(anchored)
            yield f"!{NOT_THERE}\t{anchored}"

    def _mapped(self, path: str) -> str:
        return to_text(self._map(to_bytes(path)))

    def _there(self, path: str) -> list[str]:
        if TILE in path:
            before, after = path.split(TILE, 1)
            import glob

            return sorted(glob.glob(f"{glob.escape(before)}[1-9][0-9][0-9][0-9]{glob.escape(after)}"))
        resolved = str(self._resolver.Resolve(path))
        return [resolved] if resolved else []

    def _found(self, path: str) -> Iterator[str]:
        path = path.split(f"{PACKAGE}[", 1)[0] + PACKAGE if f"{PACKAGE}[" in path else path
        if path in self._seen:
            return
        self._seen.add(path)
        yield f"+{path}"
        if path.lower().endswith(LAYERS):
            self._pending.append(path)


def main() -> None:
    """Writes the records."""
    root, *maps = sys.argv[1:]
    for record in Scene(PathMap.of(maps)).records(root):
        sys.stdout.buffer.write(to_bytes(record.replace("\0", "")) + b"\0")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
