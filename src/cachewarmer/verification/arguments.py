"""The arguments of ``verify`` for programs, with the checks of the command's options."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from cachewarmer.choice.arguments import texts
from cachewarmer.errors import InvalidValue, UsageError
from cachewarmer.targets.base import Identity
from cachewarmer.verification.intervals import MOST_SAMPLES
from cachewarmer.verification.measuring import Aspect
from cachewarmer.verification.verify import Demand

LEAST_INTERVAL, MOST_INTERVAL = 0.005, 0.3


def demand_from(
    *, interval: float, samples: int, expect: float, seed: int | None, what: Iterable[str], identity: str, ask: bool
) -> Demand:
    """The demand. A ``seed`` of None is drawn: what one run has read is warm for the next.

    Raises:
        UsageError: an argument is invalid.
    """
    if not LEAST_INTERVAL <= interval <= MOST_INTERVAL:
        raise UsageError(f"interval must be between {LEAST_INTERVAL} and {MOST_INTERVAL}, not {interval}")
    if not 0 <= expect <= 1:
        raise UsageError(f"expect must be between 0 and 1, not {expect}")
    if not 0 <= samples <= MOST_SAMPLES:
        raise UsageError(f"samples must be between 0 and {MOST_SAMPLES}, not {samples}")
    try:
        aspects = tuple(dict.fromkeys(Aspect(one) for one in texts(what)))
    except ValueError as error:
        raise UsageError(f"what must be some of {', '.join(Aspect)}: {error}") from None
    try:
        asks = Identity.parse(identity) if identity else None
    except InvalidValue as error:
        raise UsageError.like(error) from error
    return Demand(
        half_width=interval,
        samples=samples,
        expected=expect,
        seed=secrets.randbits(31) if seed is None else seed,
        aspects=aspects,
        identity=asks,
        ask=ask,
    )
