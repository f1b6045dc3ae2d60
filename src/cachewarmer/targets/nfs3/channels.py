"""The connections to one mount address: opened when there is work, closed when they are silent, and reopened when lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cachewarmer.config import NfsSettings
from cachewarmer.errors import CacheWarmerError, ConnectionLost, ReplyTimeout, TransportError
from cachewarmer.targets.nfs3.connection import Channel

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.1
MOST_BACKOFF_SECONDS = 10.0


class Channels:
    """Keeps ``wanted()`` connections open after ``keep``, and reports to its owner what happens to them.

    ``connect`` returns a connected channel. ``on_ready`` is called for each new one. ``on_given_up`` is called when as
    many attempts in a row have failed as the settings allow and no connection is left; nothing is in flight then.
    """

    def __init__(
        self,
        settings: NfsSettings,
        where: str,
        *,
        connect: Callable[[], Awaitable[Channel]],
        wanted: Callable[[], int],
        on_ready: Callable[[], None],
        on_given_up: Callable[[CacheWarmerError], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._where = where
        self._connect = connect
        self._wanted = wanted
        self._on_ready = on_ready
        self._on_given_up = on_given_up
        self.open: list[Channel] = []
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._made = 0
        self._lost = 0
        self._closed = False
        self._check_seconds = max(0.02, settings.reply_seconds / 4)
        self._timer = self._loop.call_later(self._check_seconds, self._check)

    def __repr__(self) -> str:
        return f"<Channels {self._where} open={len(self.open)} failures={self._failures}>"

    @property
    def most_failures(self) -> int:
        """Failures in a row after which a call, or the address, is given up."""
        return max(1, self._settings.reconnect_attempts)

    @property
    def reconnects(self) -> int:
        """The number of connections that replaced a lost one."""
        return min(self._lost, max(0, self._made - 1))

    def keep(self) -> None:
        """Starts to make the connections that are missing, unless that is in progress."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect_all())

    def answered(self) -> None:
        """Records an answer, after which earlier failures no longer count."""
        self._failures = 0

    def failed(self, channel: Channel, error: CacheWarmerError, *, in_flight: int) -> None:
        """Records the end of a connection that had ``in_flight`` unanswered calls."""
        self.open.remove(channel)
        self._lost += 1
        if isinstance(error, ReplyTimeout):
            log.info("%s: asking again on another connection", error)
        if in_flight:
            self._failures += 1
        if not self.open and self._failures >= self.most_failures:
            self._give_up(error)

    async def _connect_all(self) -> None:
        while not self._closed and len(self.open) < max(1, self._wanted()):
            if self._failures:
                backoff = FIRST_BACKOFF_SECONDS * 2.0 ** (self._failures - 1)
                await asyncio.sleep(min(MOST_BACKOFF_SECONDS, backoff))
            try:
                channel = await self._connect()
            except CacheWarmerError as error:
                self._failures += 1
                if self._failures >= self.most_failures:
                    if not self.open:
                        self._give_up(address_failed(error, self._where))
                    return
                continue
            self.open.append(channel)
            self._made += 1
            self._on_ready()

    def _give_up(self, error: CacheWarmerError) -> None:
        self._failures = 0
        self._on_given_up(error)

    def _check(self) -> None:
        """Ends connections whose server sends nothing, or does not answer the oldest call."""
        now = self._loop.time()
        patience = self._settings.reply_seconds
        for channel in list(self.open):
            oldest = channel.rpc.oldest_xid
            if oldest is None or oldest != channel.oldest[0]:
                channel.oldest = (oldest, now)
            if oldest is not None and (now - channel.heard > patience or now - channel.oldest[1] > 2 * patience):
                channel.fail(ReplyTimeout(f"no reply within {patience:g} s"))
        self._timer = self._loop.call_later(self._check_seconds, self._check)

    async def close(self, error: CacheWarmerError) -> None:
        """Ends all connections with ``error``."""
        self._closed = True
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        for channel in list(self.open):
            channel.fail(error)


def address_failed(error: CacheWarmerError, address: str) -> CacheWarmerError:
    """The error of a connection as a ``TransportError``, which says that the address failed."""
    if isinstance(error, TransportError):
        return error.fill(address=address)
    made = ConnectionLost.like(error).fill(address=address)
    made.__cause__ = error
    return made
