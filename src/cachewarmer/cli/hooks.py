"""The options ``--on-end`` and ``--webhook``, which report the end of a job; ``telling`` makes the reports."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What to run or call at the end of a job."""

    command: tuple[str, ...] = ()
    """The words of a command; empty: none."""
    webhook: str = field(default="", repr=False)
    """A URL; empty: none. It may contain a password, or be a secret as a whole."""

    @property
    def any(self) -> bool:
        """Whether there is anything to run or call."""
        return bool(self.command or self.webhook)

    async def tell(self, status: JobStatus, *, allow_empty: bool = True) -> None:
        """Reports the end of a job; does nothing if the job is not over. Failures are only logged."""
        if self.any and status.state.final:
            from cachewarmer.cli.telling import tell

            await tell(status, command=self.command, webhook=self.webhook, allow_empty=allow_empty)

    async def tell_of(self, broker: Broker, job_id: str) -> None:
        """Does the same for a job, by its id at a broker."""
        if self.any:
            from cachewarmer.cli.telling import status_of

            status = await status_of(broker, job_id)
            if status is not None:
                await self.tell(status)


def add_hooks(parser: argparse.ArgumentParser) -> None:
    """Registers the options."""
    group = parser.add_argument_group("when a job ends (docs/hooks.md)")
    group.add_argument(
        "--on-end",
        type=words_of_command,
        default=(),
        metavar="COMMAND",
        help="run COMMAND without a shell, with the report as JSON on its standard input (default: none)",
    )
    group.add_argument(
        "--webhook",
        type=webhook_url,
        metavar="URL",
        help="post the report as JSON to this http or https URL (default: none)",
    )


def hooks(chosen: argparse.Namespace) -> Hooks:
    """Makes the hooks from the command line."""
    return Hooks(command=chosen.on_end, webhook=chosen.webhook or "")


def hooks_of_waiting(chosen: argparse.Namespace) -> Hooks:
    """Does the same for a command that sees a job's end only with ``--wait``. Raises ``UsageError`` without it."""
    made = hooks(chosen)
    if made.any and not chosen.wait:
        raise UsageError(f"{'--on-end' if made.command else '--webhook'} needs --wait")
    return made


def words_of_command(text: str) -> tuple[str, ...]:
    """The words of a command, split as a shell splits them."""
    try:
        import shlex

        words = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a command: {str(error).lower()}") from error
    if not words or not words[0]:
        raise argparse.ArgumentTypeError("names no command")
    return words


def webhook_url(text: str) -> str:
    """A URL to post to. The error message does not repeat it, because it may contain a password."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not (valid and text.isascii() and text.isprintable() and " " not in text):
        raise argparse.ArgumentTypeError("not a URL such as https://HOST/PATH")
    return text
