"""Reading work items, at a pace."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from cachewarmer.targets.pool import SessionPool


def steered(pool: SessionPool) -> AbstractAsyncContextManager[None]:
    """For the length of an ``async with``: the windows of the pool follow what its addresses can take, if the settings
    say so. A command whose window is fixed does not load what finds one.
    """
    if not pool.settings.nfs.window_auto:
        return nullcontext()
    from cachewarmer.warming.steering import steering_of

    return steering_of(pool)
