"""The brokers that the suite runs against."""

from __future__ import annotations

import os

import pytest

from tests.conformance.labs import AzuriteLab, Lab, PostgresLab, SqliteLab
from tests.servers.azurite import azurite
from tests.servers.postgres import postgres
from tests.storage_standin.account import storage


@pytest.fixture(scope="session")
def storage_account():
    """The connection string of an empty storage account of the whole test run: Azurite, or with ``CACHEWARMER_STORAGE=memory``
    the stand-in of the benchmarks, which has to do as well."""
    if os.environ.get("CACHEWARMER_STORAGE") == "memory":
        with storage() as (connection_string, _):
            yield connection_string
        return
    with azurite() as connection_string:
        yield connection_string


@pytest.fixture(scope="session")
def postgres_url():
    """The URL of an empty PostgreSQL server of the whole test run."""
    with postgres() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "azurite", "postgres"])
async def lab(request, tmp_path):
    """A fresh store behind each broker in turn."""
    made: Lab
    if request.param == "sqlite":
        made = SqliteLab(tmp_path)
    elif request.param == "azurite":
        made = AzuriteLab(request.getfixturevalue("storage_account"))
    else:
        made = PostgresLab(request.getfixturevalue("postgres_url"))
    async with made.handles:
        yield made
