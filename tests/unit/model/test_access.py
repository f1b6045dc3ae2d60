"""One value for how a cache is reached, with one table of fields."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage, InvalidValue, UsageError
from cachewarmer.model import Access, Transport, Wanted, WarmJob
from cachewarmer.model.access import check_address
from cachewarmer.target import parse_target
from cachewarmer.targets.base import Mount


@pytest.mark.parametrize("address", ["a", "cache-1.farm_2.example.", "10.0.0.7", "::1", "fe80::1%eth0.5", "1"])
def test_an_address_is_a_name_or_an_ip_address(address):
    """In one syntax for messages, targets and mounts."""
    check_address(address)
    shown = f"[{address}]" if ":" in address else address
    assert parse_target(f"{shown}:/x").access.addresses == (address,)


@pytest.mark.parametrize(
    "address",
    ["", "-o", "a b", "a/b", "a\nb", "a;b", "[::1]", ":::", "::1%", "fe80::1%a/b", "1:2", "a" * 300, "\u00e4"],
)
def test_anything_else_is_refused_wherever_it_comes_from(address):
    """By code, by message and on the command line."""
    with pytest.raises(InvalidValue):
        Access(addresses=(address,))
    with pytest.raises(InvalidMessage):
        WarmJob.from_json(f'{{"WarmTargetMountAddresses":[{address!r}]}}'.replace("'", '"'))
    if address not in ("a/b", "[::1]", "1:2"):  # in a URL these are a path, an address and a port
        with pytest.raises(UsageError):
            parse_target(f"nfs://{address}/x")


@pytest.mark.parametrize(
    "values",
    [
        {"nfs_port": 65536},
        {"nfs_port": -1},
        {"mount_port": True},
        {"uid": 1 << 32},
        {"gids": (1,) * 17},
        {"export": "/a/../b"},
        {"addresses": ("a",) * 257},
        {"addresses": ("a",), "transport": Transport.LOCAL},
    ],
)
def test_python_code_is_checked_like_a_message(values):
    """The checks belong to the value."""
    with pytest.raises(InvalidValue):
        Access(**values)


@pytest.mark.parametrize("values", [{"min_file_bytes": 5, "max_file_bytes": 4}, {"newer_than": float("nan")}])
def test_what_contradicts_itself_is_refused(values):
    """It could match no file."""
    with pytest.raises(InvalidValue):
        Wanted(**values)


ACCESS = st.builds(
    Access,
    addresses=st.lists(st.sampled_from(["a", "10.0.0.1", "::1"]), min_size=1, max_size=3).map(tuple),
    export=st.sampled_from(["", "/", "/data", "/\udcff"]),
    transport=st.sampled_from([Transport.AUTO, Transport.NFS, Transport.MOUNT]),
    nfs_port=st.integers(0, 65535),
    mount_port=st.integers(0, 65535),
    uid=st.integers(-1, (1 << 32) - 1),
    gid=st.integers(-1, (1 << 32) - 1),
    gids=st.lists(st.integers(0, (1 << 32) - 1), max_size=16).map(tuple),
)
WANTED = st.builds(
    Wanted,
    include=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=3).map(tuple),
    max_file_bytes=st.just(0),
    min_file_bytes=st.integers(0, 1 << 62),
    newer_than=st.floats(0, 1e12),
    snapshots=st.booleans(),
    follow_links=st.booleans(),
    one_file_system=st.booleans(),
    hardlink_dedup=st.booleans(),
    go_rules=st.booleans(),
)


@given(ACCESS, WANTED)
def test_both_survive_the_trip_through_json(access, wanted):
    """Whatever they hold."""
    job = WarmJob.from_json(WarmJob(access=access, wanted=wanted).to_json())
    assert (job.access, job.wanted) == (access, wanted)


@given(ACCESS)
def test_a_mount_has_every_connection_parameter(access):
    """So that a new one needs no further line of code."""
    mount = Mount.of(access, "a", "/x")
    names = {one.name for one in fields(Access)} - {"addresses"}
    assert {name: getattr(mount, name) for name in names} == {name: getattr(access, name) for name in names}
