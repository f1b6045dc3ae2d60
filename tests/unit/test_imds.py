"""What a VM asks of Azure's metadata service, and what becomes of each answer."""

import time

import pytest

from cachewarmer.azure.metadata import Imds
from cachewarmer.errors import FleetError, FleetUnavailable, MetadataAbsent
from tests.azure_standin.one_vm import one_vm
from tests.servers.ports import NO_IMDS


@pytest.fixture
async def served():
    async with one_vm() as made:
        yield made


@pytest.fixture
async def imds(served):
    async with Imds(served.url + "/") as made:
        yield made


async def test_it_says_where_the_vm_is(imds):
    """All that creating machines beside it takes."""
    instance = await imds.instance()
    assert (instance.name, instance.location, instance.resource_group) == ("farm_3", "westus2", "render")
    assert (instance.subscription_id, instance.scale_set, instance.environment) == ("s1", "farm", "AzurePublicCloud")
    assert instance.resource_id.endswith("/virtualMachines/farm_3")
    assert instance.tags == {"owner": "td", "empty": ""}
    assert (instance.private_addresses, instance.subnet_prefixes) == (("10.144.133.132",), ("10.144.133.128/26",))


async def test_what_it_leaves_out_is_empty(served, imds):
    """A VM without tags, without a scale set, with no interface described."""
    served.about = {"compute": {"name": "lonely", "resourceId": "/x"}}
    instance = await imds.instance()
    assert (instance.name, instance.scale_set, instance.tags, instance.private_addresses) == ("lonely", "", {}, ())


async def test_it_says_what_is_about_to_happen_and_takes_the_acknowledgement(served, imds):
    """The events as they are, for whichever VM."""
    announced = served.announce("Preempt", "farm_3", 30)
    announced["Resources"].append("farm_4")
    schedule = await imds.scheduled_events()
    (event,) = schedule.events
    assert (schedule.incarnation, event.event_id, event.event_type) == (2, announced["EventId"], "Preempt")
    assert (event.resources, event.status) == (("farm_3", "farm_4"), "Scheduled")
    await imds.acknowledge([event.event_id])
    (event,) = (await imds.scheduled_events()).events
    assert (event.status, event.not_before) == ("Started", "")


async def test_no_service_is_one_clear_line_at_once():
    """On any machine but a VM of Azure."""
    began = time.monotonic()
    async with Imds(NO_IMDS) as imds:
        with pytest.raises(MetadataAbsent, match=r"no instance metadata service answers at http://127\.0\.0\.1:9"):
            await imds.instance()
    assert time.monotonic() - began < 10


async def test_the_environment_says_where_it_is(monkeypatch, served):
    """For tests, and clouds that have it elsewhere."""
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", served.url)
    async with Imds() as imds:
        assert (await imds.instance()).name == "farm_3"


async def test_no_proxy_is_ever_asked(monkeypatch, imds):
    """It would answer for its own machine."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await imds.instance()).name == "farm_3"


@pytest.mark.parametrize("status", [410, 429, 500, 503])
async def test_what_may_pass_is_transient(served, imds, status):
    """410 is a service that updates itself, 429 one that is asked too often."""
    served.statuses = [status]
    with pytest.raises(FleetUnavailable, match=str(status)):
        await imds.instance()
    assert (await imds.instance()).name == "farm_3"


async def test_a_refusal_and_nonsense_are_not(served, imds):
    """The same call would end the same way."""
    served.statuses = [403]
    with pytest.raises(FleetError, match="403") as refused:
        await imds.instance()
    assert not refused.value.transient
    served.about = ["no", "object"]
    with pytest.raises(FleetError, match="no JSON object"):
        await imds.instance()
    served.about = {"network": {}}
    with pytest.raises(FleetError, match="'compute'"):
        await imds.instance()
