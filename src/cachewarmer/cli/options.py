"""The options that commands share: how each is registered, and the frozen values that a command line becomes.

Only ``parse`` functions see an ``argparse.Namespace``. The drop-in commands make the same values from their own flags.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from cachewarmer.cli import arguments
from cachewarmer.errors import UsageError

TARGET_HELP = (
    "a path of this machine, ADDRESS[,ADDRESS...]:/PATH, or nfs://ADDRESS[,ADDRESS...]/PATH[?KEY=VALUE&...] with the keys "
    "nfsport, mountport, uid, gid, gids and export"
)
JOB_HELP = "the job's id, a beginning of it that no other has, or its name"


# -- what is said ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How much is said, and in which form."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False


def add_output(parser: argparse.ArgumentParser, *, quiet: str = "", json: bool = True) -> None:
    """``quiet`` says what -q leaves out; empty: there is no -q. ``json``: whether there is a choice of JSON or text."""
    group = parser.add_argument_group("output")
    if json:
        group.add_argument("--json", action="store_true", help="write one JSON document to stdout")
    if quiet:
        group.add_argument("-q", "--quiet", action="store_true", help=quiet)
    group.add_argument("-v", "--verbose", action="store_true", help="show more messages, and tracebacks of errors")


def output(chosen: argparse.Namespace) -> Output:
    """What the command line says of it."""
    return Output(json=getattr(chosen, "json", False), quiet=getattr(chosen, "quiet", False), verbose=chosen.verbose)


# -- the broker ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerChoice:
    """Which broker, and how to sign in to it."""

    url: str = ""
    """Empty: the environment's, else the user's own file."""
    resource_group: str = ""
    """Where the storage account's key is looked up."""
    storage_key: str = field(default="", repr=False)


def add_broker(parser: argparse.ArgumentParser) -> None:
    """``--broker``: where jobs are kept."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        default="",
        help="where jobs are kept: sqlite:///FILE, postgresql://HOST/DATABASE or azure://ACCOUNT/PREFIX "
        "(default: $CACHEWARMER_BROKER, else a file in the user's state directory)",
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """How an account's key is found."""
    parser.add_argument(
        "--storage-resource-group",
        dest="resource_group",
        default="",
        metavar="NAME",
        help="the storage account's resource group: its key is looked up there if the identity has no role on its data",
    )


def broker(chosen: argparse.Namespace) -> BrokerChoice:
    """What the command line says of it."""
    return BrokerChoice(url=chosen.broker, resource_group=getattr(chosen, "resource_group", ""))


# -- which files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which files of a target a job is about, and how they are read."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_file_bytes: int = 0
    min_file_bytes: int = 0
    newer_than: float = 0.0
    filter_from: tuple[str, ...] = ()
    """Files with rules."""
    snapshots: bool = False
    follow_links: bool = False
    one_file_system: bool = False
    hardlink_dedup: bool = True
    allow_empty: bool = False
    """Whether it is fine that no file passes the filters, or that the list names none."""
    files_from: str | None = None
    null: bool = False
    transport: str = "auto"
    max_bandwidth: int = 0
    name: str = ""
    uid: int | None = None
    gid: int | None = None
    each_address: bool = False
    address_subset: tuple[str, ...] = ()
    access_as: tuple[str, ...] = ()
    metadata_only: bool = False


def add_access(parser: argparse.ArgumentParser) -> None:
    """``--access-as``: what other users will ask the cache."""
    group = parser.add_argument_group("what the readers will ask")
    group.add_argument(
        "--access-as",
        action="append",
        type=arguments.identity_text,
        default=[],
        metavar="UID[:GID[,GID...]]",
        help="ask for the access of this user to every name (ACCESS, READLINK), so that the cache knows it; may be repeated",
    )
    group.add_argument(
        "--metadata-only", action="store_true", help="read no file: only listings, attributes and --access-as"
    )


def add_each_address(parser: argparse.ArgumentParser) -> None:
    """``--each-address``: caches that do not share what they hold."""
    group = parser.add_argument_group("several caches")
    group.add_argument(
        "--each-address",
        action="store_true",
        help="read everything through each mount address, or through each address of a name that has several: they are "
        "caches of their own (default: they are doors to one cache, and share the work)",
    )
    group.add_argument(
        "--address-subset",
        type=arguments.words,
        default=(),
        metavar="ADDRESS[,ADDRESS...]",
        help="with --each-address: only these of them, such as a node that was replaced",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which files, and what the job is called."""
    group = parser.add_argument_group("which files")
    _add_patterns(group)
    _add_properties(group)
    _add_places(group)
    _add_job(parser.add_argument_group("the job"))


def _add_patterns(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="read only what matches; may be repeated",
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out what matches: name, *.tmp, dir/, /top, a/**/b; may be repeated, and wins over --include",
    )
    group.add_argument(
        "--filter-from",
        action="append",
        default=[],
        metavar="FILE",
        help="rules in FILE, one a line: + PATTERN or - PATTERN; the first that matches decides; may be repeated",
    )


def _add_properties(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--max-file-size", type=arguments.size, default=0, metavar="SIZE", help="leave out larger files: 500M, 2GiB"
    )
    group.add_argument(
        "--min-file-size", type=arguments.size, default=0, metavar="SIZE", help="leave out smaller files"
    )
    group.add_argument(
        "--newer-than",
        type=arguments.moment,
        default=0.0,
        metavar="TIME",
        help="only files modified since then: 2026-11-01, 2026-11-01T08:00, 3d, 12h",
    )


def _add_places(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--files-from", metavar="FILE", help="read the paths in FILE, one a line, instead of a whole tree; - is stdin"
    )
    group.add_argument(
        "--include-snapshots",
        dest="snapshots",
        action="store_true",
        help="also read .snapshot, .zfs and the like (default: leave them out)",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="read the files of the export that symbolic links lead to (default: count the links)",
    )
    group.add_argument(
        "--one-file-system", action="store_true", help="stay on the file system of the target (paths of this machine)"
    )
    group.add_argument(
        "--no-hardlink-dedup",
        dest="hardlink_dedup",
        action="store_false",
        help="read a file with several names once for each name (default: once)",
    )
    group.add_argument(
        "--allow-empty",
        action="store_true",
        help="exit with 0 even if no file passes the filters, or the list names none (default: 3)",
    )
    group.add_argument("-0", "--null", action="store_true", help="the paths in FILE are separated by NUL")


def _add_job(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--transport",
        default="auto",
        choices=["auto", "nfs", "mount", "local"],
        help="nfs: the direct reader; mount: a kernel mount; local: a path of this machine (default: auto)",
    )
    group.add_argument(
        "--max-bandwidth",
        type=arguments.rate,
        default=0,
        metavar="RATE",
        help="maximum rate of the whole job, shared by those who read it: 200M, 100MB/s or 800Mbit (default: no limit)",
    )
    group.add_argument("--name", default="", help="a name for the job, shown by status")
    add_ids(group)


def add_ids(parser: argparse._ActionsContainer) -> None:
    """Who is named to the NFS server."""
    for option, what in (("--uid", "user"), ("--gid", "group")):
        parser.add_argument(
            option,
            type=arguments.user_id,
            metavar="ID",
            help=f"read as this {what} (AUTH_SYS) where the target names none (default: that of the process that reads)",
        )


def selection(chosen: argparse.Namespace) -> Selection:
    """What the command line says of it."""
    return Selection(
        include=tuple(chosen.include),
        exclude=tuple(chosen.exclude),
        max_file_bytes=chosen.max_file_size,
        min_file_bytes=chosen.min_file_size,
        newer_than=chosen.newer_than,
        filter_from=tuple(chosen.filter_from),
        snapshots=chosen.snapshots,
        follow_links=chosen.follow_links,
        one_file_system=chosen.one_file_system,
        hardlink_dedup=chosen.hardlink_dedup,
        allow_empty=chosen.allow_empty,
        uid=chosen.uid,
        gid=chosen.gid,
        files_from=chosen.files_from,
        null=chosen.null,
        transport=chosen.transport,
        max_bandwidth=chosen.max_bandwidth,
        name=chosen.name,
        each_address=getattr(chosen, "each_address", False),
        address_subset=getattr(chosen, "address_subset", ()),
        access_as=tuple(getattr(chosen, "access_as", ())),
        metadata_only=getattr(chosen, "metadata_only", False),
    )


# -- how hard to read ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How hard one address is read from; None: what the settings say."""

    window: int | None = None
    """Calls; 0: found automatically."""
    max_window: int | None = None
    gentle: bool = False
    connections: int | None = None
    patience: float | None = None
    """Seconds; 0: for ever."""


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How hard to read."""
    group = parser.add_argument_group("how to read")
    group.add_argument(
        "--window",
        type=arguments.window,
        metavar="N|auto",
        help="maximum calls in flight for one address (default: 16); auto: as many as the cache can take before others "
        "have to wait",
    )
    group.add_argument(
        "--max-window",
        type=arguments.positive,
        metavar="N",
        help="maximum that --window auto may choose (default: 1024); implies it",
    )
    group.add_argument(
        "--gentle",
        action="store_true",
        help="leave half of what --window auto finds to others, and give way at half the delay; implies it",
    )
    group.add_argument(
        "--connections", type=arguments.positive, metavar="N", help="TCP connections for one address (default: 2)"
    )
    group.add_argument(
        "--patience",
        type=arguments.span,
        metavar="TIME",
        help="how long to wait for addresses that do not answer before the job fails: 90, 15m, 2h; 0: for ever "
        "(default: 15m)",
    )


def reading(chosen: argparse.Namespace) -> Reading:
    """What the command line says of it."""
    if chosen.window and (chosen.max_window is not None or chosen.gentle):
        raise UsageError("--window N fixes the window; --max-window and --gentle are for --window auto")
    return Reading(
        window=chosen.window,
        max_window=chosen.max_window,
        gentle=chosen.gentle,
        connections=chosen.connections,
        patience=chosen.patience,
    )


# -- what is verified ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a verification samples, and what is expected of it."""

    interval: float = 0.05
    samples: int = 0
    seed: int | None = None
    expect: float | None = None
    what: tuple[str, ...] = ("data",)
    identity: tuple[int, int, tuple[int, ...]] | None = None
    """Who asks for ACCESS: user, group, further groups."""
    ask: bool = True


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the sample is chosen, and what is expected."""
    group = parser.add_argument_group("the sample")
    group.add_argument(
        "--interval",
        type=arguments.half_width,
        default=0.05,
        metavar="SHARE",
        help="how far the 95 %% confidence interval may reach to each side; it decides how many samples there are "
        "(default: 0.05)",
    )
    group.add_argument(
        "--samples", type=arguments.positive, default=0, metavar="N", help="read so many samples instead"
    )
    group.add_argument(
        "--seed",
        type=arguments.seed,
        metavar="N",
        help="choose the same samples as an earlier run with this seed: they are warm by then (default: random)",
    )
    group.add_argument(
        "--expect",
        type=arguments.share,
        metavar="SHARE",
        help="exit with 3 if less than this fraction is warm, or if that can't be told: 0.99",
    )
    group.add_argument(
        "--what",
        type=arguments.aspects,
        default=("data",),
        metavar="LIST",
        help="data, attributes and access, separated by commas (default: data)",
    )
    group.add_argument(
        "--as",
        dest="identity",
        type=arguments.identity,
        metavar="UID[:GID[,GID...]]",
        help="ask for access as this user (default: the one who reads)",
    )
    group.add_argument(
        "--no-ask",
        dest="ask",
        action="store_false",
        help="read samples even where the cache can be asked: JuiceFS, the page cache of this machine",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """Whether a command verifies at its end, and what is expected then."""

    verify: bool = False
    sampling: Sampling = field(default_factory=Sampling)


def add_checking(parser: argparse.ArgumentParser) -> None:
    """``--verify``: whether what was warmed is verified."""
    group = parser.add_argument_group("is it warm?")
    group.add_argument(
        "--verify", action="store_true", help="verify a sample at the end, and report it (see cachewarmer verify)"
    )
    group.add_argument(
        "--expect",
        type=arguments.share,
        metavar="SHARE",
        help="with --verify: exit with 3 if less than this fraction is warm, or if that can't be told: 0.99",
    )


def checking(chosen: argparse.Namespace) -> Checking:
    """What the command line says of it."""
    if chosen.expect is not None and not chosen.verify:
        raise UsageError("--expect needs --verify")
    return Checking(verify=chosen.verify, sampling=Sampling(expect=chosen.expect))


def sampling(chosen: argparse.Namespace) -> Sampling:
    """What the command line says of it."""
    return Sampling(
        interval=chosen.interval,
        samples=chosen.samples,
        seed=chosen.seed,
        expect=chosen.expect,
        what=chosen.what,
        identity=chosen.identity,
        ask=chosen.ask,
    )


# -- manager and worker ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What manager and worker share."""

    name: str = ""
    exit_when_idle: float | None = None
    uid: int | None = None
    gid: int | None = None
    """For jobs that name none; None: as the settings say."""


def add_service(parser: argparse.ArgumentParser) -> None:
    """What manager and worker share."""
    parser.add_argument(
        "--exit-when-idle",
        type=arguments.seconds,
        metavar="SECONDS",
        help="exit after this long without work (default: never)",
    )
    parser.add_argument(
        "--name", default="", metavar="NAME", help="what this process is called (default: host name and process id)"
    )
    add_ids(parser)


def service(chosen: argparse.Namespace) -> Service:
    """What the command line says of it."""
    return Service(name=chosen.name, exit_when_idle=chosen.exit_when_idle, uid=chosen.uid, gid=chosen.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where the page is served."""

    address: str = ""
    """Empty: nowhere."""
    names: tuple[str, ...] = ()
    token_file: str = ""


def add_page(parser: argparse.ArgumentParser) -> None:
    """The page and its API."""
    group = parser.add_argument_group("the page (docs/web.md)")
    group.add_argument(
        "--http",
        default="",
        metavar="ADDRESS:PORT",
        help="serve the page there, such as 127.0.0.1:8750 (default: nowhere)",
    )
    group.add_argument(
        "--http-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further host name that browsers know it under, such as that of a proxy; may be repeated",
    )
    group.add_argument(
        "--http-token-file",
        default="",
        metavar="FILE",
        help="a file with the token that every request has to name (default: that of CACHEWARMER_HTTP_TOKEN, if it is set)",
    )


def page(chosen: argparse.Namespace) -> Page:
    """What the command line says of it."""
    return Page(address=chosen.http, names=tuple(chosen.http_host), token_file=chosen.http_token_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChoice:
    """What the command line says of the fleet; what it leaves empty is in the settings file."""

    kind: str = ""
    workers: int = 0
    bootstrap_address: str = ""
    bootstrap_export: str = ""
    bootstrap_script: str = ""
    user_name: str = ""
    password: str = field(default="", repr=False)
    ssh_public_key: str = ""
    subnet_name: str = ""
    options: tuple[str, ...] = ()
    """For the provider, beside those of the settings."""


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Which machines the manager starts; the rest is in the settings file."""
    group = parser.add_argument_group("the fleet of workers (docs/operations.md)")
    group.add_argument(
        "--fleet",
        choices=("none", "local", "slurm", "vmss"),
        default="",
        help="local: processes on this machine; slurm: job arrays of a Slurm cluster; vmss: Spot VMs of an Azure scale "
        "set (default: none)",
    )
    group.add_argument("--workers", type=arguments.positive, default=0, metavar="N", help="maximum number of workers")
    group.add_argument(
        "--fleet-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="slurm: an option for sbatch, such as --fleet-option=--partition=render; may be repeated",
    )
    group.add_argument(
        "--bootstrap-address",
        default="",
        metavar="ADDRESS",
        help="vmss: the NFS server that holds the bootstrap folder",
    )
    group.add_argument(
        "--bootstrap-export", default="", metavar="PATH", help="vmss: the export of the bootstrap folder"
    )
    group.add_argument(
        "--bootstrap-script", default="", metavar="PATH", help="vmss: the script in it that installs a worker"
    )


def fleet(chosen: argparse.Namespace) -> FleetChoice:
    """What the command line says of it."""
    return FleetChoice(
        kind=chosen.fleet,
        workers=chosen.workers,
        bootstrap_address=chosen.bootstrap_address,
        bootstrap_export=chosen.bootstrap_export,
        bootstrap_script=chosen.bootstrap_script,
        options=tuple(chosen.fleet_option),
    )
