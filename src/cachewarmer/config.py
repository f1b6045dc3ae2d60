"""Settings, frozen, with their units. Only this module reads TOML, and the environment but for Azure's own variables."""

from __future__ import annotations

import os
import socket
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cachewarmer.errors import ConfigError
from cachewarmer.wire import MAX_ID

KIB = 1024
MIB = 1024 * 1024
GIB = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NfsSettings:
    """The direct NFSv3 reader."""

    window_calls: int = 16
    """READs (and listing calls) in flight for one address. A cold READ holds a server thread: docs/design.md."""
    window_bytes: int = 64 * MIB
    """Bytes asked for and not yet received, for one address."""
    connections: int = 2
    """TCP connections for one address."""
    port: int = 0
    mount_port: int = 0
    """Ports of the NFS and the MOUNT service for jobs that name none; 0: the server's portmapper is asked."""
    max_read_bytes: int = 1 * MIB
    """The longest READ to ask for; the server's rtmax may be less."""
    connect_seconds: float = 10.0
    reply_seconds: float = 60.0
    """No byte and no reply on a connection with calls in flight for this long: it is given up and made again."""
    reconnect_attempts: int = 5
    """Failed attempts in a row after which the session gives its requests back with ``TransportError``."""
    jukebox_seconds: float = 1.0
    """First wait after NFS3ERR_JUKEBOX; doubles up to 30 s."""
    jukebox_limit_seconds: float = 600.0
    """How long one file may answer NFS3ERR_JUKEBOX before it counts as failed."""
    stale_limit_seconds: float = 30.0
    """How long handles may be stale, fresh ones too, before what they stand for counts as failed."""
    directory_entries: int = 50_000_000
    """Maximum number of entries of one directory; 0: no maximum."""
    directory_seconds: float = 14_400.0
    """How long the listing of one directory may take; 0: as long as it likes."""
    mount_tries: int = 16
    """Maximum number of MNT calls to find an export by."""
    mount_seconds: float = 60.0
    """How long finding the export may take."""
    sessions: int = 64
    """Maximum number of sessions kept open at once, one for each address, export and uid."""
    idle_seconds: float = 60.0
    """A session that nothing has used for this long is closed."""
    privileged_port: bool | None = None
    """Bind a source port below 1024: True, False, or None to do it if we may."""
    uid: int | None = None
    gid: int | None = None
    """AUTH_SYS user and group for jobs that name none; None: those of this process, or what the environment says."""
    gids: tuple[int, ...] = ()
    """Further AUTH_SYS groups, 16 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Reading files of this machine, and of kernel mounts."""

    threads: int = 16
    """Threads that read at the same time, for one session."""
    read_bytes: int = 1 * MIB
    """Length of one read(2)."""
    reply_seconds: float = 60.0
    """A call into the file system that takes this long is given up: its request ends with ``ReplyTimeout``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """Kernel mounts: ``--transport mount``."""

    root: str = "/mnt/cachewarmer"
    """Mounts go to ``<root>/<address>/<export>``."""
    vers: str = ""
    """NFS version, such as ``3`` or ``4.2``; empty: what mount.nfs negotiates."""
    nconnect: int = 0
    """TCP connections for one server; 0: the kernel's own choice (1)."""
    sec: str = ""
    """Security flavour, such as ``krb5p``; empty: the kernel's own choice."""
    options: str = ""
    """Further options for mount(8), separated by commas."""
    retry_seconds: float = 600.0
    """How long a mount that fails is tried again."""
    idle_seconds: float = 60.0
    """A mount of ours that no session has used for this long is unmounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """How a tree is cut into work items."""

    item_files: int = 2000
    """Most files in one item."""
    item_bytes: int = 256 * MIB
    """An item is closed when it holds this many bytes."""
    range_bytes: int = 256 * MIB
    """A file larger than this is cut into ranges of this many bytes."""
    message_bytes: int = 0
    """Most bytes of an item's JSON; 0: no limit. Azure Storage Queues take 64 KiB."""
    directories_in_flight: int = 32
    """Listings going on at once, over all addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How work is handed out."""

    lease_seconds: float = 60.0
    """Visibility timeout of a lease; renewed at a third of it."""
    max_deliveries: int = 5
    """Failed deliveries after which an item goes to poison."""
    poll_seconds: float = 1.0
    """Between two looks at an empty queue, and at the state of jobs."""
    drain_seconds: float = 20.0
    """On SIGTERM, time to finish what is held and to hand the rest back."""
    keep_seconds: float = 30 * 24 * 3600.0
    """How long a job that is over is remembered: its line in ``status``, its report."""
    patience_seconds: float = 900.0
    """How long a job waits for its mount addresses while none of them answers, before it fails; 0: for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmssSettings:
    """What the machines of a VM scale set are."""

    vm_sizes: str = "Standard_D2s_v5,Standard_D2as_v5,Standard_D2ds_v5"
    """VM sizes, the preferred one first, separated by commas."""
    max_price: float = -1.0
    """Dollars an hour for one machine; -1: up to the price on demand."""
    image: str = "Canonical:ubuntu-24_04-lts:server:latest"
    """URN ``publisher:offer:sku:version``, or the id of an image."""
    image_plan: str = ""
    """Marketplace plan ``publisher:product:name`` of an image that has one."""
    orchestration: str = "Flexible"
    """``Flexible`` or ``Uniform``."""
    location: str = ""
    resource_group: str = ""
    subnet_id: str = ""
    """These three, where empty, are those of the manager's own VM."""
    subnet_name: str = ""
    """Another subnet of the same network."""
    identity: str = ""
    """Id of the user-assigned identity that the workers sign in with; empty: the manager VM's own."""
    user_name: str = "azureuser"
    ssh_public_key: str = ""
    password: str = field(default="", repr=False)
    worker_key: str = field(default="", repr=False)
    """An account key that custom data carries to the workers; empty, as it should be: they use their identity."""
    allow_internet: bool = False
    """Whether cloud-init may fetch packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """When machines come and go, whatever they are."""

    kind: str = "none"
    """``none``; ``local``: worker processes on the manager's machine; ``vmss``: an Azure VM scale set of Spot VMs."""
    workers: int = 0
    """Most machines; 0: the fleet is never started."""
    idle_seconds: float = 20.0
    """The fleet is deleted this long after the last lease was settled."""
    blind_seconds: float = 900.0
    """When the queues could not be seen for this long, nothing is left running."""
    scan_seconds: float = 300.0
    """While a scan goes on, machines without work are kept for this long: more may come of it."""
    look_seconds: float = 5.0
    """Between two looks at the backlog and the fleet."""
    local_seconds: float = 0.0
    """Work that one worker beside the manager does within this time starts no machine; 0: always start."""
    worker_bytes_per_second: int = 100 * MIB
    worker_files_per_second: int = 1000
    """What one worker is taken to read, to judge ``local_seconds``."""
    items_per_worker: int = 1
    """Items of the backlog for each machine that is started."""
    bootstrap_address: str = ""
    bootstrap_export: str = ""
    bootstrap_script: str = ""
    """The NFS export with the bootstrap folder, and the script below it that makes an empty VM a worker."""
    bootstrap_options: str = ""
    """Further options for mount(8) of that export, separated by commas, such as ``vers=4.1``."""
    vmss: VmssSettings = field(default_factory=VmssSettings)
    """What only a VM scale set needs: the table ``[fleet.vmss]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process."""

    nfs: NfsSettings = field(default_factory=NfsSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    mount: MountSettings = field(default_factory=MountSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    fleet: FleetSettings = field(default_factory=FleetSettings)


_KINDS: dict[str, Any] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
    "bool | None": bool,
    "int | None": int,
    "tuple[int, ...]": list,
}
"""What TOML may give for each type of setting."""


def load_settings(environment: dict[str, str] | None = None) -> Settings:
    """Settings from the TOML file that ``CACHEWARMER_CONFIG`` names, if any: one table for each group above.

    Raises:
        ConfigError: the file can't be read, or a key or value in it is wrong.
    """
    values = os.environ if environment is None else environment
    path = values.get("CACHEWARMER_CONFIG")
    if not path:
        return Settings(nfs=NfsSettings(**_wire_ids(values)))
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    made: dict[str, Any] = {}
    tables.setdefault("nfs", {})
    for name, table in tables.items():
        group = _GROUPS.get(name)
        if group is None or not isinstance(table, dict):
            raise ConfigError(f"configuration file {path}: no such table [{name}] (known: {', '.join(_GROUPS)})")
        made[name] = _group(path, name, group, _with_vmss_table(table) if name == "fleet" else table)
    return Settings(**{**made, "nfs": replace(made["nfs"], **_wire_ids(values, tables["nfs"]))})


WIRE_IDS = {"uid": "CACHEWARMER_NFS_UID", "gid": "CACHEWARMER_NFS_GID", "gids": "CACHEWARMER_NFS_GIDS"}
"""Settings of [nfs] that a service's environment gives where its file does not: who it is to the NFS server."""


def wire_environment(settings: NfsSettings) -> dict[str, str]:
    """The variables that give another process the same user and groups on the wire."""
    values = {"uid": settings.uid, "gid": settings.gid, "gids": ",".join(map(str, settings.gids)) or None}
    return {WIRE_IDS[key]: str(value) for key, value in values.items() if value is not None}


def _wire_ids(environment: Mapping[str, str], said: Collection[str] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, variable in WIRE_IDS.items():
        text = environment.get(variable, "")
        if not text or key in said:
            continue
        parts = text.split(",") if key == "gids" else [text]
        if not all(part.strip().isdecimal() and int(part) <= MAX_ID for part in parts):
            raise ConfigError(f"{variable} is {text!r}: must be a number from 0 to {MAX_ID}")
        numbers = tuple(int(part) for part in parts)
        made[key] = numbers if key == "gids" else numbers[0]
    return made


_GROUPS = {
    "nfs": NfsSettings,
    "local": LocalSettings,
    "mount": MountSettings,
    "plan": PlanSettings,
    "lease": LeaseSettings,
    "fleet": FleetSettings,
}
_TABLES_WITHIN = {"VmssSettings": VmssSettings}
"""Groups within a group, by the type of their field."""


def _with_vmss_table(table: dict[str, Any]) -> dict[str, Any]:
    """``[fleet]`` with the scale set's settings in a table of their own: earlier versions had all of them in one."""
    moved = {one.name for one in fields(VmssSettings)} & table.keys()
    inner = table.get("vmss", {})
    if not moved or not isinstance(inner, dict):
        return table
    return {key: value for key, value in table.items() if key not in moved} | {
        "vmss": {key: table[key] for key in moved} | inner
    }


def _group(path: str, name: str, group: Any, table: dict[str, Any]) -> Any:
    """The settings of one table, checked."""
    known = {one.name: str(one.type) for one in fields(group)}
    made: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"configuration file {path}: [{name}] has no setting {key!r}")
        within = _TABLES_WITHIN.get(known[key])
        if within is not None and isinstance(value, dict):
            made[key] = _group(path, f"{name}.{key}", within, value)
            continue
        if not _fits(key, known[key], value):
            raise ConfigError(f"configuration file {path}: [{name}] {key} can't be {value!r}")
        made[key] = tuple(value) if isinstance(value, list) else value
    return group(**made)


def _fits(key: str, kind: str, value: Any) -> bool:
    """Whether a setting of this type can have this value."""
    wanted = _KINDS.get(kind, ())
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return False
    if isinstance(value, list):
        return all(_fits(key, "int", one) for one in value)
    return isinstance(value, str) or key == "max_price" or value >= 0


def proxies(environment: dict[str, str] | None = None) -> dict[str, str]:
    """The proxies that this process uses, by the variable of each (``http_proxy``, ``https_proxy``, ``no_proxy``).

    Where only the upper-case variable is set, it counts; what is not set or empty is left out.
    """
    values = os.environ if environment is None else environment
    found = {name: values.get(name) or values.get(name.upper(), "") for name in PROXY_VARIABLES}
    return {name: value for name, value in found.items() if value}


PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


def child_environment() -> dict[str, str]:
    """What processes that we start see: all of ours but the lines to our own service manager."""
    own = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    # Our single-file program shall unpack itself anew, since its files go away with us.
    return {name: value for name, value in os.environ.items() if name not in own} | {
        "PYINSTALLER_RESET_ENVIRONMENT": "1"
    }


def vmss_password(environment: dict[str, str] | None = None) -> str:
    """``VMSS_PASSWORD``: the fleet's password where no flag says it, so that it needs no command line."""
    return (os.environ if environment is None else environment).get("VMSS_PASSWORD", "")


def state_directory() -> Path:
    """Where the embedded broker keeps its file: ``$XDG_STATE_HOME/cachewarmer``, else ``~/.local/state/cachewarmer``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".local" / "state") / "cachewarmer"


def default_broker_url() -> str:
    """The broker when none is named: the environment's, else SQLite in the user's state directory."""
    return environment_broker_url() or broker_url_in(state_directory())


def environment_broker_url() -> str:
    """``CACHEWARMER_BROKER``; empty where it is not set."""
    return os.environ.get("CACHEWARMER_BROKER", "")


def broker_url_in(directory: Path) -> str:
    """The URL of the embedded broker with its file in a directory."""
    return f"sqlite:///{directory / 'cachewarmer.db'}"


def process_name() -> str:
    """What a manager or worker is called unless it is given a name: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def default_processes() -> int:
    """Reader processes for this machine: half of its cores, between 1 and 4."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(4, cores // 2))
