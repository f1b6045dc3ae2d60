"""Options that most commands share: output, broker, and the ids to read as."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.values import dataclass

TARGET_HELP = (
    "a local path, ADDRESS[,ADDRESS...]:/PATH, or nfs://ADDRESS[,ADDRESS...]/PATH[?KEY=VALUE&...] with the keys nfsport, "
    "mountport, uid, gid, gids and export"
)
JOB_HELP = "the id of a job, a unique prefix of the id, or the name of the job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How much to show, and in which format."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_format: str = ""
    """``text`` or ``json``; empty: as in the settings, else text."""
    log_file: str = ""

    @property
    def hides_progress(self) -> bool:
        """Whether to show no progress: because it is not wanted, or because standard error is for programs to read."""
        return self.quiet or (self.log_format == "json" and not self.log_file)


def add_output(parser: argparse.ArgumentParser, *, quiet: str = "", json: bool = True) -> None:
    """Registers the options for output and logs.

    ``quiet`` is the help of ``-q``; if empty, ``-q`` is not offered. ``json`` is whether ``--json`` is offered.
    """
    group = parser.add_argument_group("output")
    if json:
        group.add_argument("--json", action="store_true", help="write one JSON document to standard output")
    if quiet:
        group.add_argument("-q", "--quiet", action="store_true", help=quiet)
    group.add_argument("-v", "--verbose", action="store_true", help="show more messages, and the tracebacks of errors")
    logs = parser.add_argument_group("messages (docs/logs.md)")
    logs.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="",
        help="format of log messages; json: one object per line (default: text)",
    )
    logs.add_argument(
        "--log-file",
        default="",
        metavar="FILE",
        help="append log messages to FILE; a manager or worker then writes none to standard error (default: no file)",
    )


def add_token_file(group: argparse._ArgumentGroup, option: str, who: str) -> None:
    """Registers the option for the token of the server that ``option`` starts; ``who`` has to present the token."""
    group.add_argument(
        f"{option}-token-file",
        default="",
        metavar="FILE",
        help=f"file with the token that {who} must present (default: $CACHEWARMER_HTTP_TOKEN, if set)",
    )


def output(chosen: argparse.Namespace) -> Output:
    """Makes the value from the parsed command line."""
    return Output(
        json=getattr(chosen, "json", False),
        quiet=getattr(chosen, "quiet", False),
        verbose=chosen.verbose,
        log_format=chosen.log_format,
        log_file=chosen.log_file,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerChoice:
    """Which broker, and how to sign in to it."""

    url: str = ""
    """Empty: the broker that the environment names, else the user's own file."""
    resource_group: str = ""
    """The resource group where the key of the storage account is looked up."""
    storage_key: str = field(default="", repr=False)


def add_broker(parser: argparse.ArgumentParser, *, when: str = "") -> None:
    """Registers ``--broker``: where jobs are kept. ``when`` says in which case it matters, if not always."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        default="",
        help=f"{when}where jobs are kept: sqlite:///FILE, postgresql://HOST/DATABASE or azure://ACCOUNT/PREFIX "
        "(default: $CACHEWARMER_BROKER, or a file in your state directory)",
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Registers the option for where the key of the storage account is looked up."""
    parser.add_argument(
        "--storage-resource-group",
        dest="resource_group",
        default="",
        metavar="NAME",
        help="resource group of the storage account, where its key is looked up if the identity has no role "
        "for its data (default: no look-up)",
    )


def broker(chosen: argparse.Namespace) -> BrokerChoice:
    """Makes the value from the parsed command line."""
    return BrokerChoice(url=chosen.broker, resource_group=getattr(chosen, "resource_group", ""))


def add_ids(parser: argparse._ActionsContainer) -> None:
    """Registers the options for the ids to use at the NFS server."""
    for option, what in (("--uid", "user"), ("--gid", "group")):
        parser.add_argument(
            option,
            type=arguments.user_id,
            metavar="ID",
            help=f"{what} id to read as (AUTH_SYS), unless the target names one (default: that of the reading process)",
        )
