"""What a service says of itself when it starts."""

from __future__ import annotations

import logging
import os
import socket

from cachewarmer import __version__
from cachewarmer.about import about
from cachewarmer.broker.base import Broker
from cachewarmer.config import Settings

log = logging.getLogger(__name__)


def say_start(what: str, broker: Broker, settings: Settings, *more: str) -> None:
    """One line: the version, who this is, where its jobs are kept, how it reads, and ``more`` that is not empty."""
    nfs = settings.nfs
    window = f"window auto (at most {nfs.window_max_calls} calls)" if nfs.window_auto else f"window {nfs.window_calls}"
    gentle = "gentle" if nfs.window_auto and nfs.gentle else ""
    parts = [f"broker {broker.shown}", window, gentle, *more]
    log.info(
        "cachewarmer %s starts: %s on %s, process %d; %s",
        __version__,
        what,
        socket.gethostname(),
        os.getpid(),
        "; ".join(part for part in parts if part),
        extra=about(version=__version__, broker=broker.shown),
    )
