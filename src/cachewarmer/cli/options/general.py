"""What most commands share: how much they say, where jobs are kept, and as whom they read."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.values import dataclass

TARGET_HELP = (
    "a path of this machine, ADDRESS[,ADDRESS...]:/PATH, or nfs://ADDRESS[,ADDRESS...]/PATH[?KEY=VALUE&...] with the keys "
    "nfsport, mountport, uid, gid, gids and export"
)
JOB_HELP = "the job's id, a beginning of it that no other has, or its name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How much is said, and in which form."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_format: str = ""
    """``text`` or ``json``; empty: as the settings say, else text."""
    log_file: str = ""

    @property
    def hides_progress(self) -> bool:
        """Whether no progress is shown: none is wanted, or standard error is for programs to read."""
        return self.quiet or (self.log_format == "json" and not self.log_file)


def add_output(parser: argparse.ArgumentParser, *, quiet: str = "", json: bool = True) -> None:
    """``quiet`` says what -q leaves out; empty: there is no -q. ``json``: whether there is a choice of JSON or text."""
    group = parser.add_argument_group("output")
    if json:
        group.add_argument("--json", action="store_true", help="write one JSON document to stdout")
    if quiet:
        group.add_argument("-q", "--quiet", action="store_true", help=quiet)
    group.add_argument("-v", "--verbose", action="store_true", help="show more messages, and tracebacks of errors")
    logs = parser.add_argument_group("messages (docs/logs.md)")
    logs.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="",
        help="how messages are written; json: an object a line (default: text)",
    )
    logs.add_argument(
        "--log-file",
        default="",
        metavar="FILE",
        help="add messages to FILE, of a manager or worker in place of standard error (default: none)",
    )


def add_token_file(group: argparse._ArgumentGroup, option: str, who: str) -> None:
    """The token of a server that ``option`` has made; ``who`` has to name it."""
    group.add_argument(
        f"{option}-token-file",
        default="",
        metavar="FILE",
        help=f"a file with the token that {who} has to name (default: that of CACHEWARMER_HTTP_TOKEN, if it is set)",
    )


def output(chosen: argparse.Namespace) -> Output:
    """What the command line says of it."""
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
    """Empty: the environment's, else the user's own file."""
    resource_group: str = ""
    """Where the storage account's key is looked up."""
    storage_key: str = field(default="", repr=False)


def add_broker(parser: argparse.ArgumentParser, *, when: str = "") -> None:
    """``--broker``: where jobs are kept. ``when`` says in which case it matters, if not in every one."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        default="",
        help=f"{when}where jobs are kept: sqlite:///FILE, postgresql://HOST/DATABASE or azure://ACCOUNT/PREFIX "
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


def add_ids(parser: argparse._ActionsContainer) -> None:
    """Who is named to the NFS server."""
    for option, what in (("--uid", "user"), ("--gid", "group")):
        parser.add_argument(
            option,
            type=arguments.user_id,
            metavar="ID",
            help=f"read as this {what} (AUTH_SYS) where the target names none (default: that of the process that reads)",
        )
