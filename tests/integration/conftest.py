"""What tests of managers and workers share."""

from __future__ import annotations

import contextlib
import secrets

import psycopg
import pytest

from cachewarmer.broker import open_broker
from tests.integration.parts import SETTINGS, Running
from tests.servers.postgres import postgres


@pytest.fixture(scope="session")
def postgres_server():
    """An empty PostgreSQL server that these tests share."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "azurite"])
def shared_broker(request, tmp_path, monkeypatch):
    """The URL of an empty broker of each kind in turn, for processes that inherit this environment."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fleet.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        name = f"b{secrets.token_hex(4)}"
        with contextlib.closing(psycopg.connect(server.url, autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{server.url.rpartition('/')[0]}/{name}"
    connection_string = request.getfixturevalue("azurite_connection")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string)
    account = connection_string.partition("AccountName=")[2].partition(";")[0]
    return f"azure://{account}/l{secrets.token_hex(4)}"


@pytest.fixture
async def broker(tmp_path):
    async with open_broker(f"sqlite:///{tmp_path}/broker.db", SETTINGS.lease) as opened:
        yield opened


@pytest.fixture
async def running(broker):
    parts = Running(broker)
    yield parts
    await parts.end()
