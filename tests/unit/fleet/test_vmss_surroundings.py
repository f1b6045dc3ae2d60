"""What Azure tells of quota and subnet."""

import pytest

from cachewarmer.findings import Level
from cachewarmer.fleet.vmss.surroundings import Space, judged_quota, judged_subnet, space_of


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
