"""The OpenAPI document is true: schemathesis asks a running server what the document allows, and what it does not."""

import asyncio
import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.web import HttpSettings, WebServer
from cachewarmer.web.openapi import document

TOKEN = "a-token-that-nobody-guesses"
LIVE = "/events"
"""Never ends; ``tests/unit/web`` reads it."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    place = tmp_path_factory.mktemp("openapi")
    started, ended = threading.Event(), asyncio.Event()
    found = {}

    async def serve():
        broker = open_broker(f"sqlite:///{place}/broker.db", Settings().lease)
        async with WebServer(HttpSettings.of("127.0.0.1:0", token=TOKEN), broker, Settings()) as server:
            found.update(url=server.url, loop=asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait(30)
    yield found["url"]
    found["loop"].call_soon_threadsafe(ended.set)
    thread.join(30)


schema = schemathesis.openapi.from_dict(document()).exclude(path=LIVE)


@schema.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_names(case, base):
    """Its status, its type and its keys; and what the document forbids is refused."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    # What a TARGET or a pattern is, no schema says.
    case.call_and_validate(base_url=f"{base}api/v1", headers=headers, excluded_checks=[positive_data_acceptance])
