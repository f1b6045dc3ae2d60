"""An identity signs in to both services with tokens, a key with signatures, at the hosts of a cloud of one's own."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from yarl import URL

from cachewarmer.azure import sign_in as azure_auth
from cachewarmer.broker import open_broker
from cachewarmer.errors import BrokerError, ConfigError
from cachewarmer.model import JobState, ScanTotals
from tests.conformance.labs import a_job, items_of, receipt
from tests.servers.azurite import azurite
from tests.servers.certificate import self_signed, tls_server

DROPPED = {"host", "transfer-encoding", "content-length", "connection"}


class Identity:
    """A token as the storage services want it; ``asked`` has the scopes."""

    def __init__(self, issuer="https://sts.windows.net/tenant/"):
        self.issuer = issuer
        self.asked = []

    async def get_token(self, *scopes, **more):
        self.asked += scopes
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": self.issuer,
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
        }
        parts = [{"alg": "RS256", "typ": "JWT"}, claims]
        packed = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return AccessToken(".".join([*packed, "c2lnbmF0dXJl"]), claims["exp"])

    async def close(self):
        pass


@pytest.fixture
async def cloud(tmp_path, monkeypatch):
    """A cloud whose hosts are on loopback, ``warmtest.queue.SUFFIX`` and ``warmtest.table.SUFFIX``, and the account's key."""
    certificate, key = self_signed(tmp_path, "warmtest.queue.cloud.test", "warmtest.table.cloud.test")
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real("127.0.0.1" if str(host).endswith(".cloud.test") else host, *rest, **more),
    )
    monkeypatch.setattr(azure_auth, "NO_RETRIES", azure_auth.NO_RETRIES | {"connection_verify": str(certificate)})
    with azurite(certificate=(certificate, key)) as connection:
        ports = {
            service: int(re.search(rf"{service}Endpoint=https://127.0.0.1:(\d+)", connection, re.IGNORECASE)[1])
            for service in ("queue", "table")
        }
        client = aiohttp.ClientSession(auto_decompress=False)

        async def forward(request):
            """To where Azurite has the account: in the path, also of what stands in a transaction."""
            service = request.host.split(".")[1]
            account, body, dropped = f"https://127.0.0.1:{ports[service]}", await request.read(), DROPPED
            if request.headers["Authorization"].startswith("Bearer"):
                account += "/warmtest"
                body = body.replace(b"https://" + request.host.encode(), account.encode())
            else:
                dropped = DROPPED - {"host"}  # what a key signed can't be changed
            headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
            async with client.request(
                request.method,
                URL(account + request.raw_path, encoded=True),
                headers=headers,
                data=body or None,
                ssl=False,
                skip_auto_headers=("Content-Type",),
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

        async with client, tls_server(forward, certificate, key) as port:
            key = re.search(r"AccountKey=([^;]+)", connection)[1]
            yield SimpleNamespace(suffix=f"cloud.test:{port}", key=key)


async def test_a_job_is_done_with_tokens_alone(cloud, monkeypatch):
    """Queues and table are made, used and read with the token of ``DefaultAzureCredential``; no key is anywhere."""
    identity = Identity()
    monkeypatch.setattr(azure_auth, "default_credential", lambda: identity)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT_SUFFIX", cloud.suffix)
    async with open_broker("azure://warmtest/tokens") as broker:
        job_id = await broker.submit(a_job())
        lease = await broker.claim_job(60)
        await broker.set_state(job_id, JobState.SCANNING)
        await broker.publish(items_of(job_id, 2))
        leases = [*await broker.claim(1, 60), *await broker.claim(1, 60)]
        assert await broker.complete("w", [(one, receipt(one)) for one in leases]) == [True, True]
        await broker.record_scan(job_id, ScanTotals(items=2, finished=True))
        assert (await broker.status(job_id)).state is JobState.COMPLETED
        await broker.settle_job(lease)
    assert set(identity.asked) == {"https://storage.azure.com/.default"}


async def test_an_identity_of_nobody_is_told_what_it_needs(cloud, monkeypatch):
    """In one line, without the token."""
    monkeypatch.setattr(azure_auth, "default_credential", lambda: Identity(issuer="https://elsewhere/"))
    with pytest.raises(BrokerError, match="Storage Queue Data Contributor") as caught:
        await open_broker("azure://warmtest/tokens", endpoint_suffix=cloud.suffix).open()
    assert "c2lnbmF0dXJl" not in str(caught.value)


async def test_a_key_signs_in_and_a_wrong_one_is_not_shown(cloud):
    """As the worker's ``-storageKey`` gives it."""
    async with open_broker("azure://warmtest/keys", storage_key=cloud.key, endpoint_suffix=cloud.suffix) as broker:
        job_id = await broker.submit(a_job())
        assert (await broker.claim_job(60)).job.job_id == job_id
        assert cloud.key not in repr(broker) + repr(broker._sign_in)
    wrong = base64.b64encode(b"secret-secret").decode()
    with pytest.raises(BrokerError, match="not allowed") as caught:
        await open_broker("azure://warmtest/keys", storage_key=wrong, endpoint_suffix=cloud.suffix).open()
    assert wrong not in str(caught.value)


async def test_a_key_that_is_none_is_a_wrong_setting_and_not_shown(cloud):
    """It is refused before it is used."""
    with pytest.raises(ConfigError) as caught:
        await open_broker("azure://warmtest/keys", storage_key="no base64!", endpoint_suffix=cloud.suffix).open()
    assert "no base64" not in str(caught.value)
