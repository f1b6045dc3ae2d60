"""The brokers that the suite runs against."""

from __future__ import annotations

import pytest

from tests.conformance.labs import AzuriteLab, SqliteLab
from tests.servers.azurite import azurite


@pytest.fixture(scope="session")
def storage_account():
    """The connection string of an empty storage account of the whole test run."""
    with azurite() as connection_string:
        yield connection_string


@pytest.fixture(params=["sqlite", "azurite"])
async def lab(request, tmp_path):
    """A fresh store behind each broker in turn."""
    made = SqliteLab(tmp_path) if request.param == "sqlite" else AzuriteLab(request.getfixturevalue("storage_account"))
    async with made.handles:
        yield made
