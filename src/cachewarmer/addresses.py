"""The mount addresses of a job: resolves host names to all of their addresses, and selects those of ``--each-address``."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from cachewarmer.errors import UnknownHost, UsageError
from cachewarmer.model import WarmJob
from cachewarmer.model.access import MAX_ADDRESSES

log = logging.getLogger(__name__)

Resolve = Callable[[str], Sequence[str]]


def each_address(
    job: WarmJob, subset: Sequence[str], resolve: Resolve | None = None, *, fan_out: bool = False
) -> WarmJob:
    """The job, for each of its addresses by itself; a name with several addresses stands for all of them.

    ``subset``: only these of them, as they were written or as they came of a name. ``fan_out``: one after the other
    (see ``WarmJob.fan_out``).

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
    return replace(job, access=replace(job.access, addresses=tuple(chosen)), each_address=True, fan_out=fan_out)


def all_addresses(job: WarmJob, resolve: Resolve | None = None) -> WarmJob:
    """The job, with every name that has several addresses replaced by them, in order; and says so.

    Of a name with IPv4 and IPv6 addresses those of the first one's kind are taken: the others are most likely the same
    machines. A name that can't be resolved stays as it is: whoever opens it says what is wrong.
    """
    found: dict[str, None] = {}
    for name in job.access.addresses:
        try:
            resolved = [one for one in (resolve or addresses_of)(name) if one != name]
        except UnknownHost:
            resolved = []
        versions = [ipaddress.ip_address(one.partition("%")[0]).version for one in resolved]
        same = sorted(one for one, version in zip(resolved, versions, strict=True) if version == versions[0])
        if len(same) > 1:
            log.warning("%s has %d addresses: using all of them (?resolve=first uses only one)", name, len(same))
        found.update(dict.fromkeys(same if len(same) > 1 else (name,)))
    if len(found) > MAX_ADDRESSES:
        return job
    return replace(job, access=replace(job.access, addresses=tuple(found)))


def addresses_of(name: str) -> list[str]:
    """The numeric addresses of a host name, each once; that of one that is numeric already is itself."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in it
        socket.inet_pton(socket.AF_INET, name)
        return [name]
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnknownHost("no such host", address=name) from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))
