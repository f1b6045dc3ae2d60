"""Calls to Azure's services: repeated while that may help, and what they end with is ours."""

from __future__ import annotations

import asyncio
import base64
import logging
import re

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError

from cachewarmer.azure import calls
from cachewarmer.azure.calls import ATTEMPTS, doing
from cachewarmer.azure.sign_in import SignIn
from cachewarmer.broker.azure.opened import Opened
from cachewarmer.errors import BrokerError, BrokerUnavailable, FleetError
from cachewarmer.model import Priority


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(calls, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(calls, "MOST_WAIT_SECONDS", 0.0)


class Service:
    """Answers with one failure after the other, and then with what it was asked."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.asked = []

    async def get(self, key, **options):
        self.asked.append((key, options))
        if self.failures:
            raise self.failures.pop(0)
        return key


def http_error(status):
    error = HttpResponseError(f"HTTP {status}, signed with a secret")
    error.status_code = status
    return error


async def test_a_call_is_made_again_while_it_may_help():
    """With the same arguments each time."""
    service = Service(http_error(503), ServiceRequestError("refused"), TimeoutError())
    with doing("reading job 7") as call:
        assert await call(service.get, "a", select=1) == "a"
    assert service.asked == [("a", {"select": 1})] * 4


async def test_a_call_that_goes_on_failing_says_what_was_done():
    """And may be made again later; the service's own text stays out, for it quotes what was signed."""
    service = Service(*[http_error(503)] * 100)
    with pytest.raises(BrokerUnavailable) as caught, doing("reading job 7") as call:
        await call(service.get, "a")
    assert len(service.asked) == ATTEMPTS
    assert str(caught.value).startswith("reading job 7: ")
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, HttpResponseError)


async def test_a_refusal_is_not_repeated():
    """What the block has no use for leaves it as ours; what it expects is caught inside."""
    service = Service(http_error(400), ResourceNotFoundError("gone"))
    with pytest.raises(BrokerError, match="HTTP status 400") as caught, doing("reading job 7") as call:
        await call(service.get, "a")
    assert not caught.value.transient
    with doing("reading job 7") as call:
        try:
            await call(service.get, "a")
        except ResourceNotFoundError:
            found = False
    assert not found
    assert len(service.asked) == 2


async def test_another_room_may_mean_another_error():
    """The fleet's are not the broker's."""
    with pytest.raises(FleetError, match="making machines"), doing("making machines", _fleet_error) as call:
        await call(Service(http_error(400)).get, "a")


def _fleet_error(_, what):
    return FleetError(what)


async def test_a_reply_without_a_body_is_one_line_of_ours(caplog, monkeypatch):
    """An empty 503 makes the SDK write a traceback for each call: none of it gets into the log."""
    asked = []
    monkeypatch.setattr(logging.getLogger("azure"), "level", logging.NOTSET)

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(head)
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    key = base64.b64encode(b"k" * 32).decode()
    account = f"http://127.0.0.1:{port}/warmtest"
    parts = {"AccountName": "warmtest", "AccountKey": key, "QueueEndpoint": account, "TableEndpoint": account}
    sign_in = SignIn("warmtest", connection_string=";".join(f"{name}={value}" for name, value in parts.items()))
    opened = Opened(sign_in.clients(), "px")
    try:
        with caplog.at_level(logging.DEBUG, logger="cachewarmer"):
            for asks in (
                opened.jobs.receive(1, 2, Priority.NORMAL),
                opened.jobs.send("{}", Priority.NORMAL),
                opened.records.all(),
            ):
                with pytest.raises(BrokerUnavailable, match="HTTP status 503"):
                    await asks
    finally:
        await opened.clients.close()
        server.close()
    assert len(asked) == 3 * ATTEMPTS
    assert not [one for one in caplog.records if one.name.startswith("azure") or one.exc_info]
