"""Settings, frozen, with their units."""

from __future__ import annotations

from dataclasses import field

from cachewarmer.values import dataclass

KIB = 1024
MIB = 1024 * 1024
GIB = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NfsSettings:
    """The direct NFSv3 reader."""

    window_calls: int = 16
    """Maximum number of READ and listing calls in flight for one address. A cold READ holds a thread of the server."""
    window_bytes: int = 64 * MIB
    """Maximum number of bytes requested and not yet received, for one address."""
    window_auto: bool | None = None
    """Whether the number of calls in flight follows what the cache can take; unset: yes, unless ``window_calls`` is set."""
    window_max_calls: int = 1024
    """Maximum number of calls in flight that ``window_auto`` may choose."""
    gentle: bool = False
    """Whether ``window_auto`` leaves half of what it finds to others, and gives way at half the delay."""
    connections: int = 2
    """TCP connections for one address."""
    port: int = 0
    """Port of the NFS service for jobs that name none; 0: ask the server's portmapper."""
    mount_port: int = 0
    """Port of the MOUNT service for jobs that name none; 0: ask the server's portmapper."""
    max_read_bytes: int = 1 * MIB
    """Maximum length of a READ; the server's rtmax may be smaller."""
    connect_seconds: float = 10.0
    """How long to wait for a connection."""
    reply_seconds: float = 60.0
    """A connection with calls in flight on which nothing has come for this long is closed and made again."""
    reconnect_attempts: int = 5
    """Failed attempts in a row after which the address counts as unreachable."""
    jukebox_seconds: float = 1.0
    """First wait after NFS3ERR_JUKEBOX (the server asks to try later); doubles up to 30 s."""
    jukebox_limit_seconds: float = 600.0
    """How long one file may answer NFS3ERR_JUKEBOX before it counts as failed."""
    fault_limit_seconds: float = 30.0
    """The same for NFS3ERR_SERVERFAULT, which a server sends while something is wrong with it."""
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
    """Whether to use a source port below 1024; unset: where this process is allowed to."""
    uid: int | None = None
    """AUTH_SYS user id for jobs that name none; unset: ``CACHEWARMER_NFS_UID``, or else that of this process."""
    gid: int | None = None
    """AUTH_SYS group id for jobs that name none; unset: ``CACHEWARMER_NFS_GID``, or else that of this process."""
    gids: tuple[int, ...] = ()
    """Supplementary AUTH_SYS groups for jobs that name none, 16 at most."""

    @property
    def most_calls(self) -> int:
        """Calls that may be in flight at one address, whoever chooses the window."""
        return self.window_max_calls if self.window_auto else self.window_calls


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Reading files of this machine and of kernel mounts."""

    threads: int = 16
    """Number of threads that read at the same time, for one session."""
    read_bytes: int = 1 * MIB
    """Length of one read(2) call."""
    reply_seconds: float = 60.0
    """How long a call into the file system may take before its address counts as unreachable."""
    fill_threads: int = 50
    """Number of threads that a JuiceFS mount uses when it is asked to fill its cache, as ``juicefs warmup`` does; 0: it is
    not asked, and all files are read through the mount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """Kernel mounts: ``--transport mount``."""

    root: str = "/mnt/cachewarmer"
    """The directory for mounts, which are at ``<root>/<address>/<export>``."""
    vers: str = ""
    """NFS version, such as ``3`` or ``4.2``; empty: the one that mount.nfs negotiates."""
    nconnect: int = 0
    """Number of TCP connections for one server; 0: the kernel's default (1)."""
    sec: str = ""
    """Security flavor, such as ``krb5p``; empty: the kernel's default."""
    options: str = ""
    """Additional options for mount(8), separated by commas."""
    retry_seconds: float = 600.0
    """How long a failed mount is retried."""
    idle_seconds: float = 60.0
    """A mount made by cachewarmer that no session has used for this long is unmounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """How a tree is cut into work items."""

    item_files: int = 2000
    """Maximum number of files in one work item."""
    item_bytes: int = 256 * MIB
    """A work item is complete when it holds this many bytes."""
    range_bytes: int = 256 * MIB
    """A file larger than this is cut into ranges of this many bytes."""
    message_bytes: int = 0
    """Maximum length of a work item's message; 0: no limit other than the broker's own."""
    directories_in_flight: int = 32
    """Maximum number of directories listed at the same time, over all addresses."""
    depth: int = 512
    """Maximum number of directories between a directory and the target; deeper ones are not listed, and count as failed."""
    pending_memory_bytes: int = 16 * MIB
    """Memory for the directories still to be listed, and as much for files with several links; the rest goes to a
    temporary file."""
    pending_disk_bytes: int = 1024 * MIB
    """Maximum length of each of these two files; a scan that needs more fails."""
    scan_seconds: float = 7 * 24 * 3600.0
    """Maximum time for one scan, without the time in which it waits to publish; 0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How work is handed out."""

    lease_seconds: float = 60.0
    """How long a lease lasts unless it is renewed, which happens at a third of this time."""
    max_deliveries: int = 5
    """Number of failed deliveries after which a work item goes to the poison queue."""
    poll_seconds: float = 1.0
    """Interval between two looks at an empty queue, and at the state of jobs."""
    drain_seconds: float = 20.0
    """How long a worker may take after SIGTERM to finish what it holds and to hand back the rest."""
    keep_seconds: float = 30 * 24 * 3600.0
    """How long a job that is over is kept, for ``status`` and its report."""
    patience_seconds: float = 900.0
    """How long a job waits for its mount addresses while none of them answers, before it fails; 0: forever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmssSettings:
    """The machines of an Azure VM scale set."""

    vm_sizes: str = "Standard_D2s_v5,Standard_D2as_v5,Standard_D2ds_v5"
    """VM sizes, separated by commas, the preferred one first."""
    max_price: float = -1.0
    """Maximum price of one VM in dollars an hour; -1: the pay-as-you-go price."""
    image: str = "Canonical:ubuntu-24_04-lts:server:latest"
    """URN ``publisher:offer:sku:version``, or the id of an image."""
    image_plan: str = ""
    """Marketplace plan ``publisher:product:name`` of an image that has one."""
    orchestration: str = "Flexible"
    """``Flexible`` or ``Uniform``."""
    location: str = ""
    """Azure region; empty: that of the manager's own VM."""
    resource_group: str = ""
    """Resource group of the scale set; empty: that of the manager's own VM."""
    subnet_id: str = ""
    """Resource id of the subnet; empty: that of the manager's own VM."""
    subnet_name: str = ""
    """Another subnet of the manager's virtual network, by its name."""
    identity: str = ""
    """Id of the user-assigned identity that the workers sign in with; empty: the manager VM's own."""
    user_name: str = "azureuser"
    """Name of the user on the VMs."""
    ssh_public_key: str = ""
    """SSH key of that user; where it is given, nobody logs in by password."""
    password: str = field(default="", repr=False)
    """Password of that user, where there is no key."""
    worker_key: str = field(default="", repr=False)
    """Account key for the workers, in their custom data; best left empty: they sign in with their identity."""
    allow_internet: bool = False
    """Whether the VMs may fetch packages from the internet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """The job arrays of a Slurm cluster."""

    account: str = ""
    """Account that the jobs are charged to; this and the next four: empty: Slurm's default."""
    partition: str = ""
    """Partition, or several separated by commas."""
    constraint: str = ""
    """Features that the nodes must have, such as ``ssd``."""
    time_limit: str = ""
    """Maximum run time of one worker, as sbatch takes it: ``30`` (minutes), ``2:00:00``, ``1-0`` (days-hours)."""
    memory: str = ""
    """Memory for one worker, such as ``2G``."""
    cpus: int = 1
    """CPUs for one worker."""
    options: tuple[str, ...] = ()
    """Additional options for sbatch, each as one text, such as ``--qos=low``."""
    program: str = ""
    """Path of ``cachewarmer`` on the nodes; empty: that of the manager."""
    setup: str = ""
    """Shell commands that run on the node before the worker, such as ``module load cachewarmer``."""
    environment_file: str = ""
    """File with lines ``NAME=value`` that every node can read, such as one with ``CACHEWARMER_BROKER``; empty: the
    manager passes its own variables through Slurm."""
    log_directory: str = ""
    """Directory that every node can write to, for the workers' logs; empty: there are none."""
    worker_idle_seconds: float = 60.0
    """A worker that has had nothing to do for this long ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """When worker machines are started and deleted, whatever kind they are."""

    kind: str = "none"
    """``none``; ``local``: worker processes on the manager's machine; ``slurm``: job arrays of a Slurm cluster; ``vmss``: an
    Azure VM scale set of Spot VMs."""
    workers: int = 0
    """Maximum number of machines; 0: none is ever started."""
    idle_seconds: float = 20.0
    """The fleet is deleted this long after the last lease was settled."""
    blind_seconds: float = 900.0
    """The fleet is deleted when the queues could not be read for this long."""
    scan_seconds: float = 300.0
    """How long idle machines are kept while a scan may still find more work."""
    look_seconds: float = 5.0
    """Interval between two looks at the backlog and the fleet."""
    local_seconds: float = 0.0
    """No machine is started for work that one worker beside the manager can do within this time; 0: always start."""
    worker_bytes_per_second: int = 100 * MIB
    """Bytes per second that one worker is assumed to read, for ``local_seconds``."""
    worker_files_per_second: int = 1000
    """Files per second that one worker is assumed to read, for ``local_seconds``."""
    items_per_worker: int = 1
    """Number of work items in the backlog for each machine that is started."""
    bootstrap_address: str = ""
    """Address of the NFS server that holds the bootstrap folder."""
    bootstrap_export: str = ""
    """Export that holds the bootstrap folder."""
    bootstrap_script: str = ""
    """Script below that export that installs a worker on an empty VM."""
    bootstrap_options: str = ""
    """Additional options for mounting that export, separated by commas, such as ``vers=4.1``."""
    vmss: VmssSettings = field(default_factory=VmssSettings)
    """What only a VM scale set needs: the table ``[fleet.vmss]``."""
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    """What only Slurm needs: the table ``[fleet.slurm]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """What a manager or worker may be asked to read by whoever posts to its queue. Not for ``warm`` and ``scan``."""

    allow_addresses: tuple[str, ...] = ()
    """Networks such as ``10.0.0.0/8``, addresses, and host names, these as they are written in a target; empty: any."""
    allow_exports: tuple[str, ...] = ()
    """Directories of the server that targets must lie in, such as ``/data``; empty: any. Files are then found by their paths, at one LOOKUP a file."""
    allow_transports: tuple[str, ...] = ()
    """``nfs`` (the direct reader) and ``mount`` (a kernel mount); empty: both."""
    allow_local: tuple[str, ...] = ()
    """Directories of this machine that targets may lie in, such as ``/mnt/juicefs``; empty: none, unless the broker is a
    file of this user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The log of a manager or worker, where its command line does not say (docs/logs.md)."""

    format: str = "text"
    """``text``, or ``json``: an object a line."""
    file: str = ""
    """File that lines are added to; empty: they go to standard error."""
    stats_seconds: float = 0.0
    """Interval between two lines that say what was done; 0: there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process."""

    nfs: NfsSettings = field(default_factory=NfsSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    mount: MountSettings = field(default_factory=MountSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    fleet: FleetSettings = field(default_factory=FleetSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    log: LogSettings = field(default_factory=LogSettings)


TABLES = {
    "nfs": NfsSettings,
    "local": LocalSettings,
    "mount": MountSettings,
    "plan": PlanSettings,
    "lease": LeaseSettings,
    "fleet": FleetSettings,
    "targets": TargetSettings,
    "log": LogSettings,
}
TABLES_WITHIN = {"VmssSettings": VmssSettings, "SlurmSettings": SlurmSettings}
"""Groups within a group, by the type of their field."""
