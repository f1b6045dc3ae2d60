"""What tests of managers and workers share."""

from __future__ import annotations

import pytest

from cachewarmer.broker import open_broker
from tests.integration.parts import SETTINGS, Running


@pytest.fixture
async def broker(tmp_path):
    async with open_broker(f"sqlite:///{tmp_path}/broker.db", SETTINGS.lease) as opened:
        yield opened


@pytest.fixture
async def running(broker):
    parts = Running(broker)
    yield parts
    await parts.end()
