"""The mount addresses of a job that reads everything through each of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from cachewarmer.errors import UnknownHost, UsageError
from cachewarmer.model import WarmJob

Resolve = Callable[[str], Sequence[str]]


def each_address(job: WarmJob, subset: Sequence[str], resolve: Resolve | None = None) -> WarmJob:
    """The job, for each of its addresses by itself; a name with several addresses stands for all of them.

    ``subset``: only these of them, as they were written or as they came of a name.

    Raises:
        UsageError: it has no address, or not these. UnknownHost: there is no such name.
    """
    if job.access.is_local:
        raise UsageError("--each-address is for mount addresses", advice="write ADDRESS,ADDRESS:/PATH")
    found: dict[str, str] = {}
    for name in job.access.addresses:
        resolved = (resolve or addresses_of)(name)
        for address in resolved if len(resolved) > 1 else (name,):
            found.setdefault(address, name)
    chosen = [address for address, name in found.items() if not subset or address in subset or name in subset]
    missing = [one for one in subset if one not in found and one not in found.values()]
    if missing:
        raise UsageError(f"{missing[0]} is not among the addresses: {', '.join(found)}")
    return replace(job, access=replace(job.access, addresses=tuple(chosen)), each_address=True)


def addresses_of(name: str) -> list[str]:
    """The numeric addresses of a host name, each once; that of one that is numeric already is itself."""
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnknownHost("no such host", address=name) from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))
