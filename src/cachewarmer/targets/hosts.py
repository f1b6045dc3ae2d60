"""Host names that this machine knows without a query, to suggest corrections of misspelt ones."""

from __future__ import annotations

from collections.abc import Iterator

from cachewarmer.likeness import did_you_mean
from cachewarmer.paths import to_text
from cachewarmer.targets.mount.table import read_table

HOSTS = "/etc/hosts"
MAX_BYTES = 1 << 20


def advice(host: str) -> str:
    """``did you mean …?`` for a name that can't be resolved; empty if no known name is similar."""
    return did_you_mean(host, dict.fromkeys([*_named(), *_mounted()]))


def _named() -> Iterator[str]:
    """The names in the table of hosts (hosts(5))."""
    try:
        with open(HOSTS, "rb") as file:
            raw = file.read(MAX_BYTES)
    except OSError:
        return
    for line in raw.decode("utf-8", "replace").splitlines():
        yield from line.partition("#")[0].split()[1:]


def _mounted() -> Iterator[str]:
    """The servers of the NFS exports that are mounted now."""
    for entry in read_table():
        if entry.is_nfs:
            host = to_text(entry.source).rpartition(":/")[0]
            yield host.strip("[]")
