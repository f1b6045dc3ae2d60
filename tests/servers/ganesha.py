"""A real NFSv3 (and v4) server: NFS-Ganesha on free ports of the loopback interface, one per ``with``."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, free_port, locked, stop, wait_until


@dataclass(frozen=True, kw_only=True)
class GaneshaExport:
    """One more export of a server."""

    path: Path
    pseudo: str = ""
    squash: str = "none"
    """``none``, ``root`` or ``all``."""
    privileged_port: bool = False
    """Whether clients must use a source port below 1024."""
    clients: str = ""
    """The only clients allowed; empty: all."""
    writable: bool = False


@dataclass(frozen=True, kw_only=True)
class GaneshaServer:
    """A running server."""

    nfs_port: int
    mount_port: int
    export: str
    """The first export, as the server lists it."""
    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def target(self, path: str = "", **query: object) -> str:
        """The TARGET of a path below the export."""
        pairs = {"nfsport": self.nfs_port, "mountport": self.mount_port, **query}
        host = f"[{self.address}]" if ":" in self.address else self.address
        below = f"/{path.lstrip('/')}" if path else ""
        return f"nfs://{host}{self.export}{below}?" + "&".join(f"{key}={value}" for key, value in pairs.items())


def _start_rpcbind() -> None:
    # Ganesha does not start without registering; rpcbind is the machine's own daemon and is left running.
    if accepts(111):
        return
    with locked("rpcbind"):
        if not accepts(111):
            Path("/run/rpcbind").mkdir(exist_ok=True)
            subprocess.run(["rpcbind", "-w"], check=True)
            deadline = time.monotonic() + 10
            while not accepts(111) and time.monotonic() < deadline:
                time.sleep(0.02)


def _block(number: int, export: GaneshaExport, max_read: int) -> str:
    client = f"Access_Type = None; CLIENT {{ Clients = {export.clients}; Access_Type = RO; }}" if export.clients else ""
    return f"""EXPORT {{
  Export_Id = {number}; Path = {export.path}; Pseudo = {export.pseudo or f"/export{number}"};
  {client or f"Access_Type = {'RW' if export.writable else 'RO'};"} Squash = {export.squash}; SecType = sys;
  PrivilegedPort = {str(export.privileged_port).lower()};
  MaxRead = {max_read}; PrefRead = {max_read}; MaxWrite = 65536; PrefWrite = 65536;
  FSAL {{ Name = VFS; }}
}}
"""


@contextlib.contextmanager
def ganesha(
    export_dir: str | Path,
    *,
    max_read: int = 1048576,
    pseudo: str = "/warm",
    squash: str = "none",
    protocols: str = "3",
    privileged_port: bool = False,
    clients: str = "",
    also: Sequence[GaneshaExport] = (),
    address: str = "127.0.0.1",
    nfs_port: int = 0,
    mount_port: int = 0,
) -> Iterator[GaneshaServer]:
    """Exports ``export_dir`` read-only (v3 clients see its real path) until the block ends; keeps the log on failure."""
    need(shutil.which("ganesha.nfsd"), "NFS-Ganesha is not installed (nfs-ganesha, nfs-ganesha-vfs)")
    need(shutil.which("rpcbind") or accepts(111), "rpcbind is not installed")
    first = GaneshaExport(
        path=Path(export_dir).resolve(),
        pseudo=pseudo,
        squash=squash,
        privileged_port=privileged_port,
        clients=clients,
    )
    _start_rpcbind()
    nfs_port, mount_port = nfs_port or free_port(address), mount_port or free_port(address)
    listening = mount_port if "3" in protocols else nfs_port
    with contextlib.ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="ganesha-"))
        log = place / "log"
        config = place / "conf"
        config.write_text(
            f"""NFS_CORE_PARAM {{
  Protocols = {protocols}; NFS_Port = {nfs_port}; MNT_Port = {mount_port}; Bind_addr = {address};
  mount_path_pseudo = false; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
}}
NFSV4 {{ Graceless = true; RecoveryRoot = {place}; }}
EXPORT_DEFAULTS {{ Access_Type = RO; }}
LOG {{ Default_Log_Level = EVENT; }}
"""
            + "".join(_block(number, export, max_read) for number, export in enumerate((first, *also), 1))
        )
        # Registration replaces the one before; two that register at the same moment would both fail.
        with locked("ganesha"):
            Path("/var/run/ganesha").mkdir(parents=True, exist_ok=True)
            child = subprocess.Popen(
                ["ganesha.nfsd", "-F", "-f", config, "-L", log, "-p", place / "pid"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(stop, child)
            wait_until(
                lambda: log.exists() and b"NFS SERVER INITIALIZED" in log.read_bytes() and accepts(listening, address),
                child,
                "NFS-Ganesha",
                log,
            )
        yield GaneshaServer(
            nfs_port=nfs_port,
            mount_port=mount_port,
            export=str(first.path),
            address=address,
            process=child,
            log=log,
        )
        stack.close()
        shutil.rmtree(place, ignore_errors=True)
