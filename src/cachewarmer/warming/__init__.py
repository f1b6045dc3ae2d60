"""Reads work items: from an item to its receipt."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from cachewarmer.targets.pool import SessionPool


def steered(pool: SessionPool) -> AbstractAsyncContextManager[None]:
    """A context manager that adjusts the windows of a pool to what its addresses can take, if the settings say so.

    With a fixed window, the modules that adjust it are not imported.
    """
    if not pool.settings.nfs.window_auto:
        return nullcontext()
    from cachewarmer.warming.steering import steering_of

    return steering_of(pool)
