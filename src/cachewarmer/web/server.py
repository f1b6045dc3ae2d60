"""Serves the page, its files and the API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from cachewarmer.broker.base import Broker
from cachewarmer.broker.counted import CallCounts, counted
from cachewarmer.config import Settings
from cachewarmer.eventloop import end_tasks
from cachewarmer.web.address import HttpSettings
from cachewarmer.web.api import MOST_BODY_BYTES, Api
from cachewarmer.web.feed import Feed
from cachewarmer.web.guard import METRICS, Guard
from cachewarmer.web.listening import listen
from cachewarmer.web.metrics import CONTENT_TYPE, exposition
from cachewarmer.web.verifying import Verifier

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0
"""How long requests may continue when the server stops."""
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    "": "text/plain",
}


class WebServer:
    """The page of ``broker``, which must not be open and is this server's own. Use as an async context manager.

    ``fleet`` gives the fleet's document, or None where this process drives none. ``calls``: what this process has asked its
    broker, to which the calls of this server are added.
    """

    def __init__(
        self,
        http: HttpSettings,
        broker: Broker,
        settings: Settings,
        *,
        fleet: Callable[[], dict[str, Any] | None] = lambda: None,
        calls: CallCounts | None = None,
    ) -> None:
        self._http = http
        self._verifier = Verifier(settings)
        self._calls = calls or CallCounts()
        self.feed = Feed(counted(broker, self._calls), fleet=fleet, verified=self._verifier.of)
        guard = Guard(http)
        app = web.Application(middlewares=[guard.middleware], client_max_size=MOST_BODY_BYTES)
        app.add_routes(Api(self.feed, self._verifier, guard.page_token).routes())
        app.add_routes(_files())
        app.add_routes([web.get(METRICS, self._metrics, allow_head=False)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS, keepalive_timeout=30)
        self._listening: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self.port = http.port

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._listening = await listen(self._runner, self._http)
        self.port = self._listening.sockets[0].getsockname()[1]
        self._looking = asyncio.create_task(self.feed.run())
        if not self._http.is_loopback:
            log.warning(
                "the page on %s is served without TLS: whoever can listen on the way sees the token "
                "(a proxy in front can take care of that: docs/web.md)",
                self.url,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.close()
        await self.feed.end()
        await self._verifier.close()
        if self._looking is not None:
            await end_tasks(self._looking)
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        """As of the last look: a scrape asks the broker nothing."""
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=exposition(replace(self.feed.seen(), calls=self._calls)), headers=headers)

    def connections(self) -> list[Any]:
        """Those that are open."""
        return self._runner.server.connections if self._runner.server is not None else []

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self._http.host}]" if ":" in self._http.host else self._http.host
        return f"http://{host}:{self.port}/"


def _files() -> list[web.RouteDef]:
    """A route for each file that is shipped: no path of a request ever reaches the file system."""
    routes = []
    for name, content in _read(resources.files("cachewarmer.web") / "static", ""):
        end = name[name.rfind(".") :] if "." in name else ""
        routes.append(web.get(f"/{'' if name == 'index.html' else name}", _sender(content, TYPES[end])))
    return routes


def _read(directory: Any, above: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for one in directory.iterdir():
        name = f"{above}{one.name}"
        found += _read(one, f"{name}/") if one.is_dir() else [(name, one.read_bytes())]
    return found


def _sender(content: bytes, kind: str) -> Callable[[web.Request], Any]:
    async def send(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return send
