"""An identity without a role on the data looks the account's key up, as the first CacheWarmer did."""

import time
from types import SimpleNamespace

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken

from cachewarmer.azure import endpoints
from cachewarmer.azure import sign_in as azure_auth
from cachewarmer.errors import BrokerError, ConfigError
from tests.azure_standin.one_vm import one_vm
from tests.servers.certificate import self_signed, tls_server
from tests.servers.ports import NO_IMDS

PATH = "/subscriptions/sub/resourceGroups/render/providers/Microsoft.Storage/storageAccounts/account/listKeys"


class Identity:
    """One that may ask the resource manager."""

    async def get_token(self, *scopes, **more):
        return AccessToken("secret-token", int(time.time()) + 3600)

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass


@pytest.fixture
async def manager(tmp_path, monkeypatch):
    """A resource manager on loopback, over TLS as the SDK insists; ``answers`` and ``asked`` are its script."""
    certificate, key = self_signed(tmp_path)
    script = SimpleNamespace(answers=[], asked=[])

    async def answer(request):
        script.asked.append((request.method, request.path, request.headers["Authorization"]))
        status, body = script.answers.pop(0)
        return web.json_response(body, status=status)

    monkeypatch.setattr(azure_auth, "NO_RETRIES", azure_auth.NO_RETRIES | {"connection_verify": str(certificate)})
    monkeypatch.setattr(azure_auth, "default_credential", Identity)
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    async with tls_server(answer, certificate, key) as port:
        monkeypatch.setitem(endpoints.MANAGEMENT, "core.windows.net", f"https://127.0.0.1:{port}")
        yield script


async def test_the_key_is_asked_for_and_used(manager):
    """By the REST call that lists an account's keys; ``repr`` does not show what came."""
    manager.answers.append((200, {"keys": [{"keyName": "key1", "permissions": "FULL", "value": "c2VjcmV0"}]}))
    sign_in = azure_auth.SignIn("account", resource_group="render")
    await sign_in.look_up_key()
    assert sign_in.key == "c2VjcmV0"
    assert not sign_in.uses_identity
    assert manager.asked == [("POST", PATH, "Bearer secret-token")]
    assert "c2VjcmV0" not in repr(sign_in)


async def test_who_may_not_is_told_the_role(manager):
    """In one line, without the token."""
    manager.answers.append((403, {"error": {"code": "AuthorizationFailed", "message": "secret-token may not"}}))
    with pytest.raises(BrokerError, match="Storage Account Key Operator Service Role") as caught:
        await azure_auth.SignIn("account", resource_group="render").look_up_key()
    assert "secret-token" not in str(caught.value)


async def test_the_subscription_is_that_of_the_vm_where_none_is_named(manager, monkeypatch):
    """As the metadata service tells it."""
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    manager.answers.append((200, {"keys": [{"keyName": "key1", "permissions": "FULL", "value": "c2VjcmV0"}]}))
    async with one_vm() as served:
        monkeypatch.setenv("CACHEWARMER_IMDS_URL", served.url)
        await azure_auth.SignIn("account", resource_group="render").look_up_key()
    ((_, path, _),) = manager.asked
    assert path.startswith("/subscriptions/s1/")


async def test_the_subscription_must_be_named_elsewhere(monkeypatch):
    """Nothing is asked of the resource manager without it."""
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", NO_IMDS)
    with pytest.raises(ConfigError, match="AZURE_SUBSCRIPTION_ID"):
        await azure_auth.SignIn("account", resource_group="render").look_up_key()
