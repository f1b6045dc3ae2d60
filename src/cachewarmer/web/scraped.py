"""Serves ``/metrics`` and nothing else: for a worker, and for a manager without a page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from cachewarmer.web.address import HttpSettings
from cachewarmer.web.guard import METRICS, Guard
from cachewarmer.web.listening import listen
from cachewarmer.web.metrics import CONTENT_TYPE, Seen, exposition

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 1024
STOP_SECONDS = 1.0
"""How long requests may continue when the server stops."""


class MetricsServer:
    """Answers a scrape with what ``seen`` gives. Use as an async context manager."""

    def __init__(self, http: HttpSettings, seen: Callable[[], Seen]) -> None:
        self._http = http
        self._seen = seen
        guard = Guard(http, any_host=bool(http.token))
        app = web.Application(middlewares=[guard.middleware], client_max_size=MOST_BODY_BYTES)
        app.add_routes([web.get(METRICS, self._metrics, allow_head=False)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS, keepalive_timeout=120)
        self._listening: asyncio.Server | None = None
        self.port = http.port

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._listening = await listen(self._runner, self._http)
        self.port = self._listening.sockets[0].getsockname()[1]
        if not self._http.is_loopback:
            log.warning("the metrics on %s are served without TLS: whoever can listen sees the token", self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=exposition(self._seen()), headers=headers)

    @property
    def url(self) -> str:
        """What to scrape."""
        host = f"[{self._http.host}]" if ":" in self._http.host else self._http.host
        return f"http://{host}:{self.port}{METRICS}"
