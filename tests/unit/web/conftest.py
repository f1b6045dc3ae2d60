"""The page's server on a free port of the loopback interface, with an embedded broker."""

import contextlib

import aiohttp
import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.web import HttpSettings, WebServer

TOKEN = "a-token-that-nobody-guesses"


class Site:
    def __init__(self, server, session):
        self.server = server
        self.session = session
        self.base = f"http://127.0.0.1:{server.port}"
        self.token = ""

    async def ask(self, method, path, **more):
        """(status, JSON or text, headers)."""
        async with self.session.request(method, f"{self.base}{path}", **more) as answer:
            kind = answer.content_type
            return answer.status, await (answer.json() if kind == "application/json" else answer.text()), answer.headers

    async def act(self, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.ask("POST", f"/api/v1{path}", json=body, headers=headers)


@pytest.fixture
def site_of(tmp_path):
    """Starts servers; with further arguments of ``HttpSettings.of``."""

    @contextlib.asynccontextmanager
    async def start(address="127.0.0.1:0", broker=None, **http):
        broker = broker or open_broker(f"sqlite:///{tmp_path}/broker.db", Settings().lease)
        settings = HttpSettings.of(address, **http)
        async with WebServer(settings, broker, Settings()) as server, aiohttp.ClientSession() as session:
            site = Site(server, session)
            if settings.token:
                site.token = settings.token
            else:
                site.token = (await site.ask("GET", "/api/v1/session"))[1]["token"]
            yield site

    return start


@pytest.fixture
async def site(site_of):
    async with site_of() as started:
        yield started
