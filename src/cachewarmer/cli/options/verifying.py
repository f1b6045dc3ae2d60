"""Options for verifying a sample, and for the expected result."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a verification takes samples, and what result is expected."""

    interval: float = 0.05
    """Maximum half width of the 95 % confidence interval, as a fraction."""
    samples: int = 0
    """Number of samples; 0: as many as ``interval`` needs."""
    seed: int | None = None
    """None: random."""
    expect: float | None = None
    """The fraction that should be warm; None: no expectation."""
    what: tuple[str, ...] = ("data",)
    """What to verify: some of ``arguments.ASPECTS``."""
    identity: tuple[int, int, tuple[int, ...]] | None = None
    """The user whose access is verified: user id, group id, supplementary group ids; None: the user who reads."""
    ask: bool = True
    """Whether to ask the cache what it holds, if it can be asked, instead of reading."""


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Registers the options for how samples are taken, and for the expected result."""
    group = parser.add_argument_group("the sample")
    group.add_argument(
        "--interval",
        type=arguments.half_width,
        default=0.05,
        metavar="SHARE",
        help="maximum half width of the 95 %% confidence interval, which determines the number of samples (default: 0.05)",
    )
    group.add_argument(
        "--samples",
        type=arguments.positive,
        default=0,
        metavar="N",
        help="number of samples (default: as many as --interval needs)",
    )
    group.add_argument(
        "--seed",
        type=arguments.seed,
        metavar="N",
        help="choose the samples of an earlier run that had this seed; they are warm now (default: random)",
    )
    group.add_argument(
        "--expect",
        type=arguments.share,
        metavar="SHARE",
        help="exit with 3 if less than this fraction is warm, or if that can't be determined, such as 0.99 (default: no "
        "expectation)",
    )
    group.add_argument(
        "--what",
        type=arguments.aspects,
        default=("data",),
        metavar="LIST",
        help="what to verify: data, attributes or access, or several separated by commas (default: data)",
    )
    group.add_argument(
        "--as",
        dest="identity",
        type=arguments.identity,
        metavar="UID[:GID[,GID...]]",
        help="user whose access is verified (default: the user who reads)",
    )
    group.add_argument(
        "--no-ask",
        dest="ask",
        action="store_false",
        help="read samples even if the cache can be asked what it holds: JuiceFS, the page cache of this machine",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """Whether a command verifies a sample at its end, and how."""

    verify: bool = False
    sampling: Sampling = field(default_factory=Sampling)


def add_checking(parser: argparse.ArgumentParser) -> None:
    """Registers ``--verify`` and ``--expect``, for commands that warm."""
    group = parser.add_argument_group("is it warm?")
    group.add_argument(
        "--verify",
        action="store_true",
        help="verify a sample at the end and report the result (see cachewarmer verify)",
    )
    group.add_argument(
        "--expect",
        type=arguments.share,
        metavar="SHARE",
        help="with --verify: exit with 3 if less than this fraction is warm, or if that can't be determined, such as 0.99 "
        "(default: no expectation)",
    )


def checking(chosen: argparse.Namespace) -> Checking:
    """Makes the value from the parsed command line. Raises ``UsageError`` for ``--expect`` without ``--verify``."""
    if chosen.expect is not None and not chosen.verify:
        raise UsageError("--expect needs --verify")
    return Checking(verify=chosen.verify, sampling=Sampling(expect=chosen.expect))


def sampling(chosen: argparse.Namespace) -> Sampling:
    """Makes the value from the parsed command line."""
    return Sampling(
        interval=chosen.interval,
        samples=chosen.samples,
        seed=chosen.seed,
        expect=chosen.expect,
        what=chosen.what,
        identity=chosen.identity,
        ask=chosen.ask,
    )
