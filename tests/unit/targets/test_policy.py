"""What a service may be asked to read."""

from dataclasses import replace

import pytest

from cachewarmer.config import Settings, TargetSettings
from cachewarmer.errors import NotAllowed
from cachewarmer.model import Transport
from cachewarmer.targets.base import Mount
from cachewarmer.targets.policy import check_allowed, check_of, within_transports
from cachewarmer.targets.pool import SessionPool
from tests.memory import MemorySession

ALLOWED = TargetSettings(
    allow_addresses=("10.1.0.0/16", "fd00::/8", "cache1"),
    allow_exports=("/data", "/tools/"),
    allow_transports=("nfs",),
    allow_local=("/mnt/jfs",),
)


@pytest.mark.parametrize(
    "mount",
    [
        Mount(address="10.1.2.3", export="/data", path="/shots"),
        Mount(address="10.1.2.3", export="", path="/data/shots"),
        Mount(address="fd00::7", export="/data", path="/"),
        Mount(address="fd00::7%eth0", export="/tools", path="/"),
        Mount(address="Cache1", export="/", path="/tools/x", transport=Transport.NFS),
        Mount(path="/mnt/jfs/a", transport=Transport.LOCAL),
    ],
)
def test_what_is_listed_may_be_read(mount):
    """By network, by address, by name, and by path."""
    check_allowed(mount, ALLOWED)


@pytest.mark.parametrize(
    ("mount", "setting"),
    [
        (Mount(address="10.2.0.1", export="/data"), "allow_addresses"),
        (Mount(address="cache2", export="/data"), "allow_addresses"),
        (Mount(address="cache1.evil.example", export="/data"), "allow_addresses"),
        (Mount(address="169.254.169.254", export="/data"), "allow_addresses"),
        (Mount(address="cache1", export="/database"), "allow_exports"),
        (Mount(address="cache1", export="/", path="/"), "allow_exports"),
        (Mount(address="cache1", export="", path="/home"), "allow_exports"),
        (Mount(address="cache1", export="/data", transport=Transport.MOUNT), "allow_transports"),
        (Mount(path="/etc", transport=Transport.LOCAL), "allow_local"),
        (Mount(path="/mnt/jfs/../../etc"), "allow_local"),
        (Mount(path="/mnt/jfs2"), "allow_local"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_setting(mount, setting):
    """So that its operator knows what to change."""
    with pytest.raises(NotAllowed, match=rf"\[targets\] {setting}"):
        check_allowed(mount, ALLOWED)


def test_without_settings_only_local_files_are_refused():
    """A queue may be written by others than those who may read this machine's files."""
    check_allowed(Mount(address="anything", export="/x"), TargetSettings())
    with pytest.raises(NotAllowed):
        check_allowed(Mount(path="/srv"), TargetSettings())
    check_of(Settings(), local_too=True)(Mount(path="/srv"))
    with pytest.raises(NotAllowed):
        check_of(Settings(), local_too=False)(Mount(path="/srv"))
    with pytest.raises(NotAllowed):
        check_of(Settings(targets=ALLOWED), local_too=True)(Mount(path="/srv"))


async def test_a_path_that_is_not_allowed_is_refused_though_its_session_is_open():
    """A session serves every path of its export: what it may be used for is asked each time."""
    session = MemorySession({b"data": {b"x": 1}}, "cache1")

    async def opener(mount, settings):
        return session

    settings = Settings(targets=ALLOWED)
    async with SessionPool(settings, opener, check=check_of(settings, local_too=False)) as pool:
        mount = Mount(address="cache1", export="/", path="/data/x")
        async with pool.lend(mount) as lent:
            assert lent is session
        with pytest.raises(NotAllowed):
            async with pool.lend(replace(mount, path="/home")):
                pass


async def test_auto_keeps_to_the_transport_that_is_allowed():
    """It would try the other when the first one fails."""
    asked = []

    async def opener(mount, settings):
        asked.append(mount.transport)
        return MemorySession({}, mount.address)

    await within_transports(opener)(Mount(address="cache1", export="/data"), Settings(targets=ALLOWED))
    await within_transports(opener)(Mount(address="cache1", export="/data"), Settings())
    assert asked == [Transport.NFS, Transport.AUTO]
