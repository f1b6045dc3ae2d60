"""Finds the export of a path at a mount address, and its file handle: asks for ports and exports, and mounts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import replace

from cachewarmer.config import NfsSettings
from cachewarmer.errors import (
    CacheWarmerError,
    ConnectFailed,
    FlavorRefused,
    MountError,
    RemoteProtocolError,
    RpcRefused,
    TransportError,
)
from cachewarmer.paths import printable, to_bytes, to_text
from cachewarmer.rpc import mount3, nfs3, portmap
from cachewarmer.rpc.message import AUTH_NONE
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import Mount
from cachewarmer.targets.nfs3.connection import SocketAddress, call_once, connect, resolve
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

KERBEROS_FLAVORS = range(390003, 390006)
SHOWN_EXPORTS = 20
UMNT_SECONDS = 0.5
EXPORT_SECONDS = 5.0
"""Maximum wait for the export list, which is useful but not necessary."""
NAME_THE_EXPORT = "name the export (?export=/PATH), so that it need not be looked for"


@dataclass(slots=True)
class Mounted:
    """What a session needs to know about its mount."""

    export: str
    root: bytes
    family: int
    address: SocketAddress
    nfs_port: int
    mount_port: int
    privileged: bool
    """Whether MNT was called from a source port below 1024."""


class MountClient:
    """Talks to the portmapper and to mountd at one address."""

    def __init__(self, mount: Mount, settings: NfsSettings, credential: bytes) -> None:
        self._mount = mount
        self._settings = settings
        self._credential = credential
        self._family: int = socket.AF_INET
        self._address: SocketAddress = ("", 0)
        self._mount_port = mount.mount_port
        self.privileged = False

    async def mount(self) -> Mounted:
        """Finds the ports and the export, and mounts it.

        Raises:
            TransportError: the address can't be reached. MountError: there is no such export, or it may not be mounted.
        """
        host = self._mount.address
        problem: CacheWarmerError = ConnectFailed("no such host", address=host)
        for family, address in await resolve(host):
            self._family, self._address = family, address
            try:
                nfs_port = self._mount.nfs_port or await self._port(nfs3.PROGRAM, nfs3.VERSION, "nfs")
                self._mount_port = self._mount.mount_port or await self._port(mount3.PROGRAM, mount3.VERSION, "mountd")
                export, root = await self._find()
            except ConnectFailed as error:
                problem = error
                continue
            except RemoteProtocolError as error:
                error.fill(address=host)
                raise
            return Mounted(export, root, family, address, nfs_port, self._mount_port, self.privileged)
        raise problem

    async def mount_again(self, export: str) -> Mounted:
        """Mounts the export that was found before, because its handle is stale. Raises what ``mount`` raises."""
        self._mount = replace(self._mount, export=export)
        return await self.mount()

    # -- ports -----------------------------------------------------------------------------------------------------

    async def _port(self, program: int, version: int, what: str) -> int:
        host = self._mount.address
        try:
            port = 0
            if self._family == socket.AF_INET6:
                # Version 2 does not know IPv6, but a server that is too old for version 4 may still answer it.
                try:
                    arguments = portmap.encode_getaddr(program, version)
                    port = portmap.decode_getaddr(
                        await self._ask_portmapper(portmap.RPCBIND_VERSION, portmap.GETADDR, arguments)
                    )
                except RpcRefused:
                    port = 0
            if not port:
                arguments = portmap.encode_getport(program, version)
                port = portmap.decode_getport(
                    await self._ask_portmapper(portmap.PORTMAP_VERSION, portmap.GETPORT, arguments)
                )
        except (TransportError, RpcRefused) as error:
            raise ConnectFailed(
                f"its portmapper does not tell the port of {what} ({error.problem})",
                address=host,
                advice=f"give the ports: {self._with_ports()}",
            ) from error
        if not port:
            raise ConnectFailed(
                f"{what} version {version} over TCP is not registered with its portmapper",
                address=host,
                advice=f"it may speak NFSv4 only (use --transport mount), or give the ports: {self._with_ports()}",
            )
        return port

    def _with_ports(self) -> str:
        host = self._mount.address
        return f"nfs://{f'[{host}]' if ':' in host else host}/PATH?nfsport={nfs3.PORT}&mountport=PORT"

    async def _ask_portmapper(self, version: int, procedure: int, arguments: bytes) -> Unpacker:
        return await self._call(portmap.PORT, AUTH_NONE, portmap.PROGRAM, version, procedure, arguments, "portmapper")

    # -- exports ---------------------------------------------------------------------------------------------------

    async def _find(self) -> tuple[str, bytes]:
        """The export and its handle.

        It is the export that was named, else the longest one in the export list that holds the path, else whichever
        directory on the way to the path can be mounted.
        """
        host = self._mount.address
        if self._mount.export:
            wanted = self._mount.export
            reply = await self._mnt(wanted)
            if reply.status:
                exports = await self.exports()
                raise self._refused(wanted, reply.status, exports or [])
            return wanted, reply.handle
        try:
            async with asyncio.timeout(self._settings.mount_seconds or None):
                return await self._search("/" + self._mount.path.strip("/"))
        except TimeoutError as error:
            raise MountError(
                f"its export was not found within {self._settings.mount_seconds:g} s",
                subject=to_bytes(self._mount.path),
                address=host,
                advice=NAME_THE_EXPORT,
            ) from error

    async def _search(self, path: str) -> tuple[str, bytes]:
        host = self._mount.address
        listed = await self.exports()
        holding = [one for one in listed or [] if path == one or path.startswith(one.rstrip("/") + "/")]
        tried: dict[str, int] = {}
        for candidate in self._candidates(path, holding):
            reply = await self._mnt(candidate)
            tried[candidate] = reply.status
            if not reply.status:
                return candidate, reply.handle
        denied = [one for one in holding if tried.get(one, mount3.OK) != mount3.OK]
        if denied:
            raise self._refused(denied[0], tried[denied[0]], listed or [])
        if listed is None:
            raise MountError(
                f"none of the directories above {printable(path)} can be mounted ({_status(tried[path])}), and its "
                "export list can't be had",
                address=host,
                advice=NAME_THE_EXPORT,
            )
        raise MountError(
            f"{printable(path)} is in no export; {_shown(listed)}", address=host, advice=_meant(path, listed)
        )

    def _candidates(self, path: str, holding: list[str]) -> list[str]:
        """The directories to try to mount, in turn: exports that hold the path, longest first; the path; its parents.

        There are no more than the settings allow; of many parents, those nearest to the path and to the root are tried.
        """
        parts = [part for part in path.split("/") if part]
        parents = ["/" + "/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
        found = list(dict.fromkeys([*sorted(holding, key=len, reverse=True), *parents]))
        most = max(1, self._settings.mount_tries)
        if len(found) <= most:
            return found
        return [*found[: most - most // 2], *(found[-(most // 2) :] if most > 1 else [])]

    async def _mnt(self, path: str) -> mount3.MountReply:
        raw = to_bytes(path)
        reply = mount3.decode_mnt(await self._ask_mountd(mount3.MNT, mount3.encode_path(raw)))
        if reply.status == mount3.OK and reply.flavors and mount3.AUTH_SYS_FLAVOR not in reply.flavors:
            wants = "Kerberos" if any(one in KERBEROS_FLAVORS for one in reply.flavors) else f"flavours {reply.flavors}"
            raise FlavorRefused(
                f"export {printable(path)} wants {wants}, not AUTH_SYS",
                address=self._mount.address,
                advice="use --transport mount",
            )
        return reply

    async def exports(self) -> list[str] | None:
        """The export list of the server; None: it refuses, closes the connection, or does not answer."""
        seconds = min(EXPORT_SECONDS, self._settings.reply_seconds)
        try:
            reply = await self._ask_mountd(mount3.EXPORT, b"", reply_seconds=seconds)
            exports = mount3.decode_exports(reply)
        except ConnectFailed:
            raise
        except (RpcRefused, TransportError, RemoteProtocolError) as error:
            log.info("%s: its export list is not available: %s", self._mount.address, error.problem)
            return None
        return [to_text(one.path) for one in exports]

    def _refused(self, export: str, status: int, exports: list[str]) -> MountError:
        host, shown = self._mount.address, printable(export)
        if status not in (nfs3.PERM, mount3.ACCESS_DENIED):
            return MountError(
                f"can't mount {shown} ({_status(status)}); {_shown(exports)}",
                address=host,
                advice=_meant(export, exports),
            )
        if export not in exports and exports:
            return MountError(
                f"no export {shown} for this machine ({_status(status)}); {_shown(exports)}",
                address=host,
                advice=_meant(export, exports),
            )
        advice = (
            "the export list must name this machine; a source port below 1024 was used, and another uid would not help"
            if self.privileged
            else "the export list must name this machine, or it wants a source port below 1024: run as root or with "
            "CAP_NET_BIND_SERVICE; another uid would not help"
        )
        return MountError(
            f"export {shown} does not admit this machine ({_status(status)})", address=host, advice=advice
        )

    async def refusal(self, export: str) -> str:
        """Why mountd does not permit this machine to mount an export; empty: it does. Nothing stays mounted.

        Raises:
            TransportError: mountd does not answer. RemoteProtocolError: its answer is invalid.
        """
        try:
            reply = await self._mnt(export)
        except (FlavorRefused, RpcRefused) as error:
            return error.problem
        if reply.status:
            return _status(reply.status)
        with contextlib.suppress(CacheWarmerError):
            await self.unmount(export)
        return ""

    async def unmount(self, export: str) -> None:
        """Tells mountd that the export is no longer mounted (UMNT), which it only uses for its own list."""
        raw = mount3.encode_path(to_bytes(export))
        await self._ask_mountd(mount3.UMNT, raw, UMNT_SECONDS)

    async def _ask_mountd(
        self, procedure: int, arguments: bytes, seconds: float = 0.0, reply_seconds: float = 0.0
    ) -> Unpacker:
        return await self._call(
            self._mount_port,
            self._credential,
            mount3.PROGRAM,
            mount3.VERSION,
            procedure,
            arguments,
            "mountd",
            seconds,
            reply_seconds,
        )

    async def _call(
        self,
        port: int,
        credential: bytes,
        program: int,
        version: int,
        procedure: int,
        arguments: bytes,
        what: str,
        seconds: float = 0.0,
        reply_seconds: float = 0.0,
    ) -> Unpacker:
        settings, host = self._settings, self._mount.address
        plain = program == portmap.PROGRAM
        sock, self.privileged = await connect(
            host,
            self._family,
            self._address,
            port,
            seconds=seconds or settings.connect_seconds,
            privileged=False if plain else settings.privileged_port,
            what=what,
        )
        try:
            return await call_once(
                sock,
                credential,
                program,
                version,
                procedure,
                arguments,
                seconds=seconds or reply_seconds or min(settings.reply_seconds, 30.0),
                host=host,
                what=what,
            )
        finally:
            sock.close()


def _status(status: int) -> str:
    return mount3.STATUS_NAMES.get(status, f"mountstat3 {status}")


def _meant(path: str, exports: list[str]) -> str:
    from cachewarmer.targets.meant import meant_below

    found = meant_below(path, exports)
    return f"did you mean {printable(found)}?" if found else ""


def _shown(exports: list[str]) -> str:
    if not exports:
        return "the server lists no exports"
    more = f" and {len(exports) - SHOWN_EXPORTS} more" if len(exports) > SHOWN_EXPORTS else ""
    return f"its exports: {printable(', '.join(exports[:SHOWN_EXPORTS]))}{more}"
