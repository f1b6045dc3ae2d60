"""Checks a mount address, from its name to the number of calls that it takes, or a local directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from statistics import median

from cachewarmer.amounts import milliseconds
from cachewarmer.config import NfsSettings, Settings
from cachewarmer.doctor.files import look_at_files
from cachewarmer.doctor.knee import find_knee
from cachewarmer.errors import CacheWarmerError, RpcRefused
from cachewarmer.findings import Finding, Level, failure, ok, warning
from cachewarmer.model import WarmJob
from cachewarmer.paths import printable, to_bytes
from cachewarmer.rpc import nfs3, portmap
from cachewarmer.rpc.message import AUTH_NONE
from cachewarmer.targets import open_session
from cachewarmer.targets.base import FileKind, Mount
from cachewarmer.targets.meant import advise
from cachewarmer.targets.nfs3.connection import SocketAddress, call_once, connect, resolve
from cachewarmer.targets.nfs3.session import Nfs3Session, open_nfs3

ROUND_TRIPS = 12
SLOW_SECONDS = 0.005
SMALL_READ_BYTES = 128 * 1024
TCP = 6
PROGRAMS = {
    100003: "nfs", 100005: "mountd", 100021: "nlockmgr", 100024: "status", 100227: "nfs_acl", 100011: "rquotad",
}  # fmt: skip
MOST_SERVICES = 20
MOST_EXPORTS = 16
"""This many are tried: each costs two calls."""
LOOK_SECONDS = 12.0
"""Time limit of each step."""


async def look_at_target(job: WarmJob, settings: Settings) -> AsyncIterator[Finding]:
    """What there is to say of a target, address after address, as it is found."""
    if job.access.is_local:
        async for found in _look_at_directory(job, settings):
            yield found
        return
    for address in job.access.addresses:
        mount = Mount.of(job.access, address, job.warm_path)
        async for found in _look_at_address(mount, job, settings):
            yield found if len(job.access.addresses) == 1 else _at(found, address)


def _at(found: Finding, address: str) -> Finding:
    return Finding(found.level, f"{address} {found.check}", found.said, found.mend)


async def _look_at_directory(job: WarmJob, settings: Settings) -> AsyncIterator[Finding]:
    path = job.full_path
    try:
        session = await open_session(Mount(), settings)
        try:
            try:
                entry = await session.lookup(to_bytes(path.strip("/")))
            except CacheWarmerError as error:
                await advise(session, to_bytes(path), error)
                raise
            yield ok("path", f"{printable(path)} is there ({entry.kind.name.lower()})")
            if entry.kind is FileKind.DIRECTORY:
                page = await session.list_page(to_bytes(path.strip("/")), b"")
                yield ok("listing", f"it can be listed: {len(page.entries)} entries or more")
        finally:
            await session.close()
    except CacheWarmerError as error:
        yield Finding.of("path", error)


async def _look_at_address(mount: Mount, job: WarmJob, settings: Settings) -> AsyncIterator[Finding]:
    try:
        places = await resolve(mount.address)
    except CacheWarmerError as error:
        yield Finding.of("name", error)
        return
    shown = list(dict.fromkeys(str(place[0]) for _, place in places))
    if len(shown) > 1:
        yield warning(
            "name",
            f"{mount.address} has {len(shown)} addresses: {', '.join(shown)}; warm reads through each of them (?resolve=first: one)",
            "if each is a separate cache: warm --each-address",
        )
    else:
        yield ok("name", f"{mount.address} is {shown[0]}")
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            session = await open_nfs3(mount, settings.nfs)
    except TimeoutError:
        yield failure("mount", f"no answer within {LOOK_SECONDS:g} s", "is it an NFS server's port?")
        return
    except CacheWarmerError as error:
        yield Finding.of("mount", error)
        return
    try:
        async for found in _look_at_session(session, mount, job, settings.nfs, places[0]):
            yield found
    except CacheWarmerError as error:
        yield Finding.of("answers", error)
    finally:
        await session.close()


async def _look_at_session(
    session: Nfs3Session, mount: Mount, job: WarmJob, settings: NfsSettings, place: tuple[int, SocketAddress]
) -> AsyncIterator[Finding]:
    mounted = session.mounted
    yield ok("ports", f"nfs on {mounted.nfs_port}, mountd on {mounted.mount_port}")
    yield await _versions(session, mount, settings, place)
    yield await _services(mount, settings, place)
    yield ok("export", f"{printable(session.export)} can be mounted")
    yield await _exports(session)
    if mounted.privileged:
        yield ok("source port", "below 1024")
    else:
        yield warning(
            "source port",
            "above 1023: this server accepts it, another may not",
            "run as root or with CAP_NET_BIND_SERVICE where one refuses",
        )
    yield await _round_trip(session)
    yield _limits(session)
    async for found in look_at_files(session, job):
        yield found
    yield await find_knee(session)


async def _versions(
    session: Nfs3Session, mount: Mount, settings: NfsSettings, place: tuple[int, SocketAddress]
) -> Finding:
    """Whether version 4 is there as well: NULL of it on the same port."""
    family, address = place
    port = session.mounted.nfs_port
    try:
        sock, _ = await connect(
            mount.address, family, address, port, seconds=settings.connect_seconds, privileged=False, what="nfs"
        )
        try:
            await call_once(
                sock, AUTH_NONE, nfs3.PROGRAM, 4, nfs3.NULL, b"", seconds=3.0, host=mount.address, what="nfs"
            )
        finally:
            sock.close()
    except RpcRefused:
        return ok("versions", "NFSv3; NFSv4 is not offered, nor needed")
    except CacheWarmerError:
        return ok("versions", "NFSv3; NFSv4 does not answer, nor is it needed")
    return ok("versions", "NFSv3 and NFSv4; version 3 is used")


async def _services(mount: Mount, settings: NfsSettings, place: tuple[int, SocketAddress]) -> Finding:
    """What the portmapper has registered over TCP, by program and version."""
    family, address = place
    try:
        seconds = min(3.0, settings.connect_seconds)
        sock, _ = await connect(
            mount.address, family, address, portmap.PORT, seconds=seconds, privileged=False, what="portmapper"
        )
        try:
            reply = await call_once(
                *(sock, AUTH_NONE, portmap.PROGRAM, portmap.PORTMAP_VERSION, portmap.DUMP, b""),
                seconds=3.0,
                host=mount.address,
                what="portmapper",
            )
            found = portmap.decode_dump(reply)
        finally:
            sock.close()
    except CacheWarmerError as error:
        return ok("services", f"its portmapper does not tell ({error.problem}); the ports are known without it")
    versions: dict[int, set[int]] = {}
    for one in found:
        if one.protocol == TCP:
            versions.setdefault(one.program, set()).add(one.version)
    shown = [
        f"{PROGRAMS.get(program, program)} {','.join(map(str, sorted(some)))}"
        for program, some in sorted(versions.items())
        if program != portmap.PROGRAM
    ][:MOST_SERVICES]
    return ok("services", f"registered over TCP: {'; '.join(shown) or 'none'}")


async def _exports(session: Nfs3Session) -> Finding:
    """What the server exports, and what of it this machine may mount: each is tried, and let go of."""
    listed = list(dict.fromkeys(await session.exports()))
    if not listed:
        return ok("exports", "their list is not shown")
    allowed, refused = [], []
    for export in listed[:MOST_EXPORTS]:
        why = "" if export == session.export else await session.mount_refusal(export)
        if why:
            refused.append(f"{printable(export)} ({why})")
        else:
            allowed.append(printable(export))
    said = f"{len(listed)} shown; this machine may mount {', '.join(allowed) or 'none of them'}"
    if refused:
        said += f"; it may not mount {', '.join(refused)}"
    if len(listed) > MOST_EXPORTS:
        said += f"; {len(listed) - MOST_EXPORTS:,} more were not tried"
    return ok("exports", said)


async def _round_trip(session: Nfs3Session) -> Finding:
    canary = session.canary()
    try:
        times = [await canary.call() for _ in range(ROUND_TRIPS)]
    finally:
        canary.close()
    said = f"{milliseconds(median(times))} ms (NULL, median of {ROUND_TRIPS}; slowest {milliseconds(max(times))} ms)"
    if median(times) > SLOW_SECONDS:
        return warning("round trip", said, "the cache is far away or busy: warm from a machine closer to it")
    return ok("round trip", said)


def _limits(session: Nfs3Session) -> Finding:
    info, used = session.limits, session.read_bytes
    said = f"{used // 1024} KiB a READ (rtmax {info.rtmax // 1024} KiB, rtpref {info.rtpref // 1024} KiB)"
    if used < SMALL_READ_BYTES:
        return warning("rtmax", said, "raise the server's maximum READ size: large files take many calls")
    return ok("rtmax", said)


def here() -> Finding:
    """The limits of this process."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{os.cpu_count()} CPUs, {soft} open files allowed"
    return Finding(Level.OK, "this machine", said) if soft >= 256 else warning("this machine", said, "ulimit -n 1024")
