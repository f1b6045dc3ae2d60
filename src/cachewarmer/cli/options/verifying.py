"""Options for verifying a sample, and for the expected result."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass


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
    """Whether a command verifies at its end, and what is expected then."""

    verify: bool = False
    sampling: Sampling = field(default_factory=Sampling)


def add_checking(parser: argparse.ArgumentParser) -> None:
    """``--verify``: whether what was warmed is verified."""
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
    """The part of the command line that is about it."""
    if chosen.expect is not None and not chosen.verify:
        raise UsageError("--expect needs --verify")
    return Checking(verify=chosen.verify, sampling=Sampling(expect=chosen.expect))


def sampling(chosen: argparse.Namespace) -> Sampling:
    """The part of the command line that is about it."""
    return Sampling(
        interval=chosen.interval,
        samples=chosen.samples,
        seed=chosen.seed,
        expect=chosen.expect,
        what=chosen.what,
        identity=chosen.identity,
        ask=chosen.ask,
    )
