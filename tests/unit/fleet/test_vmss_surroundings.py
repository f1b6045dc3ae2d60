"""What the steps of the doctor's probe say, and what Azure tells of quota and subnet."""

import pytest

from cachewarmer.doctor.knee import Step, judged, stops
from cachewarmer.findings import Level
from cachewarmer.fleet.vmss.surroundings import Space, judged_quota, judged_subnet, space_of

IDLE = 0.001


def test_a_rate_that_grows_no_more_is_the_knee():
    steps = [Step(1, 100, IDLE), Step(2, 200, IDLE), Step(4, 390, IDLE), Step(8, 400, IDLE)]
    assert [stops(steps[: end + 1], IDLE) for end in range(4)] == [False, False, False, True]
    found = judged(steps, IDLE)
    assert found.level is Level.WARNING
    assert "about 4 calls" in found.said
    assert "server threads" in found.mend


def test_a_server_that_answers_at_once_has_no_knee_to_be_found():
    steps = [Step(1, 6000, IDLE), Step(2, 6100, IDLE)]
    assert judged(steps, IDLE).level is Level.OK


def test_others_that_wait_are_a_knee_too():
    steps = [Step(1, 100, IDLE), Step(2, 200, 0.02)]
    assert stops(steps, IDLE)
    assert "about 1 calls" in judged(steps, IDLE).said


def test_a_cache_that_takes_all_that_was_tried_has_no_knee_there():
    steps = [Step(calls, calls * 100, IDLE) for calls in (1, 2, 4, 8, 16, 32)]
    found = judged(steps, IDLE)
    assert found.level is Level.OK
    assert "not reached" in found.said


# -- what the properties of a subnet, and a region's quota, say ----------------------------------------------------------


def test_azure_keeps_five_addresses_of_each_prefix_and_ipv6_counts_not():
    about = {"addressPrefixes": ["10.0.1.0/29", "10.0.2.0/28", "fd00::/64"], "ipConfigurations": [{}, {}]}
    assert space_of(about) == Space(usable=3 + 11, used=2)
    assert space_of({"addressPrefix": "10.0.1.0/24"}) == Space(251, 0)
    assert space_of({"addressPrefix": "what"}).free == 0


@pytest.mark.parametrize(
    ("more", "level", "said"),
    [
        ({}, Level.OK, "private endpoint"),
        (
            {"serviceEndpoints": [{"service": "Microsoft.Storage"}], "defaultOutboundAccess": False},
            Level.OK,
            "endpoint of",
        ),
        ({"serviceEndpoints": [{"service": "Microsoft.Storage.Global"}]}, Level.OK, "service endpoint of"),
        ({"natGateway": {"id": "/x"}, "defaultOutboundAccess": False}, Level.OK, "NAT gateway"),
        ({"defaultOutboundAccess": False}, Level.WARNING, "no default outbound access"),
        (
            {"delegations": [{"properties": {"serviceName": "Microsoft.Web"}}]},
            Level.FAILURE,
            "delegated to Microsoft.Web",
        ),
    ],
)
def test_the_way_from_a_subnet_to_the_storage_account(more, level, said):
    found = judged_subnet("farm/workers", {"addressPrefix": "10.0.1.0/24", **more}, 10)
    assert (found.level, said in found.said) == (level, True), found


@pytest.mark.parametrize(
    ("workers", "used", "level"),
    [(0, 0, Level.OK), (5, 0, Level.OK), (6, 0, Level.WARNING), (6, 20, Level.FAILURE), (0, 20, Level.WARNING)],
)
def test_the_quota_against_what_is_wanted(workers, used, level):
    found = judged_quota("westeurope", {"Standard_D4s_v5": 4}, ["standard_d4s_v5"], Space(20, used), workers)
    assert found.level is level, found
    assert bool(found.mend) is (level is not Level.OK)
