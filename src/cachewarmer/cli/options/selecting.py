"""Options for the files and the name of a job."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping

from cachewarmer.choice.values import Selection
from cachewarmer.cli import arguments
from cachewarmer.cli.options import general


def add_access(parser: argparse.ArgumentParser, *, metadata_only: bool = True) -> None:
    """Registers ``--access-as``, and ``--metadata-only`` for commands that read files."""
    group = parser.add_argument_group("what the readers will ask")
    group.add_argument(
        "--access-as",
        action="append",
        type=arguments.identity_text,
        default=[],
        metavar="UID[:GID[,GID...]]",
        help="also warm the permissions of this user: ask for its access to every name (ACCESS, READLINK); may be repeated "
        "(default: none)",
    )
    if metadata_only:
        group.add_argument(
            "--metadata-only",
            action="store_true",
            help="warm listings, attributes and the permissions of --access-as, but read no files",
        )


def add_priority(parser: argparse.ArgumentParser) -> None:
    """Registers ``--priority``: how urgent a job is compared with others."""
    parser.add_argument(
        "--priority",
        default="normal",
        choices=["high", "normal", "low"],
        help="urgency compared with other jobs of the same broker: high goes first, but the others keep a share "
        "(default: normal)",
    )


def add_each_address(parser: argparse.ArgumentParser, *, fan_out: bool = True) -> None:
    """Registers ``--each-address`` and ``--address-subset``, and ``--fan-out`` for commands that warm."""
    group = parser.add_argument_group("several caches")
    group.add_argument(
        "--each-address",
        action="store_true",
        help="read everything through every mount address, and every address of a host name, because each is a separate "
        "cache (default: all of them lead to one cache, and share the work)",
    )
    group.add_argument(
        "--address-subset",
        type=arguments.words,
        default=(),
        metavar="ADDRESS[,ADDRESS...]",
        help="with --each-address: only these addresses, such as that of a node that was replaced (default: all)",
    )
    if fan_out:
        group.add_argument(
            "--fan-out",
            action="store_true",
            help="with --each-address: warm one cache from the origin first, and then the others, for clusters whose nodes "
            "can read from each other (default: all at the same time)",
        )


LISTS = frozenset({"--files-from", "--null", "--frames", "--usd", "--map", "--in-order"})
"""The options that name files one by one."""


def add_selection(
    parser: argparse.ArgumentParser, *, without: Collection[str] = (), helps: Mapping[str, str] | None = None
) -> None:
    """Registers the options for which files to read, and for the job.

    ``without`` names options that would have no effect in this command, and are not offered. ``helps`` has other help
    texts for options that mean something else in this command.
    """
    group = parser.add_argument_group("which files")
    _add_patterns(group)
    _add_properties(group)
    _add_places(group)
    _add_lists(parser.add_argument_group("lists and parts of files"))
    _add_job(parser.add_argument_group("the job"))
    for name in without:
        _leave_out(parser, name)
    for name, text in (helps or {}).items():
        parser._option_string_actions[name].help = text  # noqa: SLF001  # argparse has no other way to get an option


def _leave_out(parser: argparse.ArgumentParser, name: str) -> None:
    """Removes an option. Its default remains among the parsed values, for ``selection``."""
    action = parser._option_string_actions[name]  # noqa: SLF001  # argparse itself replaces options in this way
    for each in action.option_strings:
        del parser._option_string_actions[each]  # noqa: SLF001
    action.container._remove_action(action)  # type: ignore[attr-defined]  # noqa: SLF001
    parser.set_defaults(**{action.dest: action.default})


def _add_patterns(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="read only files that match; may be repeated (default: all)",
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files that match: name, *.tmp, dir/, /top, a/**/b; takes precedence over --include; may be repeated "
        "(default: none)",
    )
    group.add_argument(
        "--filter-from",
        action="append",
        default=[],
        metavar="FILE",
        help="read filter rules from FILE, one per line: + PATTERN or - PATTERN; the first match decides; may be repeated "
        "(default: none)",
    )


def _add_properties(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--max-file-size",
        type=arguments.size,
        default=0,
        metavar="SIZE",
        help="leave out larger files: 500M, 2GiB (default: no limit)",
    )
    group.add_argument(
        "--min-file-size", type=arguments.size, default=0, metavar="SIZE", help="leave out smaller files (default: 0)"
    )
    group.add_argument(
        "--newer-than",
        type=arguments.moment,
        default=0.0,
        metavar="TIME",
        help="only files modified since TIME, a date or an age: 2026-11-01, 2026-11-01T08:00, 3d, 12h (default: all)",
    )


def _add_places(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--files-from",
        metavar="FILE",
        help="read the paths in FILE, one per line, instead of a whole tree; a line may be path<TAB>start<TAB>length for a "
        "range of a file, or PATTERN FRAMES as for --frames; -: standard input (default: the whole tree)",
    )
    group.add_argument(
        "--include-snapshots",
        dest="snapshots",
        action="store_true",
        help="also read snapshot directories such as .snapshot and .zfs (default: leave them out)",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="read the files that symbolic links within the export point to (default: only count the links)",
    )
    group.add_argument(
        "--one-file-system", action="store_true", help="for a local path: do not cross into other file systems"
    )
    group.add_argument(
        "--no-hardlink-dedup",
        dest="hardlink_dedup",
        action="store_false",
        help="read a file with several hard links once for each name (default: once in all)",
    )
    group.add_argument(
        "--allow-empty",
        action="store_true",
        help="exit with 0 even if no file passes the filters, or the list is empty (default: exit with 3)",
    )
    group.add_argument(
        "-0",
        "--null",
        action="store_true",
        help="the paths in the FILE of --files-from are separated by NUL (default: by line breaks)",
    )


def _add_lists(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--frames",
        action="append",
        default=[],
        metavar="SEQUENCE",
        help="read these frames instead of a whole tree, such as 'plates/plate.####.exr 1001-1240'; '%%04d' and "
        "'1-99x2,200' work too; may be repeated (default: the whole tree)",
    )
    group.add_argument(
        "--usd",
        action="append",
        default=[],
        metavar="FILE",
        help="read all files that this USD scene uses: layers, references, payloads, clips, textures and their tiles; FILE "
        "is a path on this machine; may be repeated (default: the whole tree)",
    )
    group.add_argument(
        "--map",
        dest="maps",
        action="append",
        default=[],
        metavar="FROM=TO",
        help="replace the prefix FROM of paths in a list with TO, such as 'P:\\=/projects'; may be repeated: the longest "
        "match applies (default: none)",
    )
    group.add_argument(
        "--in-order",
        action="store_true",
        help="read the files of a list in the order of the list (default: large files first)",
    )
    group.add_argument(
        "--head",
        type=arguments.part_size,
        default=0,
        metavar="SIZE",
        help="read only the first SIZE bytes of each file (default: all)",
    )
    group.add_argument(
        "--tail",
        type=arguments.part_size,
        default=0,
        metavar="SIZE",
        help="read only the last SIZE bytes of each file, in addition to those of --head (default: all)",
    )


def _add_job(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--transport",
        default="auto",
        choices=["auto", "nfs", "mount", "local"],
        help="how to read the files; nfs: the direct reader; mount: a kernel mount; local: a local path (default: auto)",
    )
    group.add_argument(
        "--max-bandwidth",
        type=arguments.bandwidth,
        metavar="RATE",
        help="maximum rate of the whole job, however many workers read it: 200M, 100MB/s or 800Mbit; by the time of day: "
        "08:00-20:00=200Mbit,=2Gbit (default: no limit)",
    )
    group.add_argument("--name", default="", help="name of the job, shown by status (default: none)")
    general.add_ids(group)


def selection(chosen: argparse.Namespace) -> Selection:
    """Makes the value from the parsed command line."""
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
        allow_empty=chosen.allow_empty or bool(getattr(chosen, "failed_of", "")),
        uid=chosen.uid,
        gid=chosen.gid,
        files_from=chosen.files_from,
        null=chosen.null,
        frames=tuple(chosen.frames),
        usd=tuple(chosen.usd),
        maps=tuple(chosen.maps),
        in_order=chosen.in_order,
        head_bytes=chosen.head,
        tail_bytes=chosen.tail,
        transport=chosen.transport,
        max_bandwidth=chosen.max_bandwidth,
        name=chosen.name,
        each_address=getattr(chosen, "each_address", False),
        address_subset=getattr(chosen, "address_subset", ()),
        fan_out=getattr(chosen, "fan_out", False),
        access_as=tuple(getattr(chosen, "access_as", ())),
        metadata_only=getattr(chosen, "metadata_only", False),
        priority=getattr(chosen, "priority", "normal"),
        ledger=bool(getattr(chosen, "ledger", "") or getattr(chosen, "keep_ledger", False)),
    )
