"""What mount(8) is asked for, and how what is mounted is recognized."""

import os

import pytest

from cachewarmer.config import MountSettings
from cachewarmer.errors import ConfigError, InvalidValue, MountError
from cachewarmer.targets.base import Mount
from cachewarmer.targets.mount import table

LINE = rb"36 35 0:42 / /mnt/a\040b rw,nosuid shared:1 - nfs 10.0.0.1:/data\134x rw,vers=3,port=2050"


def mount(address="10.0.0.1", export="/data", **more):
    return Mount(address=address, export=export, path=export, **more)


def options(settings=None, **more):
    return table.options_of(mount(**more), settings or MountSettings()).split(",")


def test_the_first_cachewarmers_options_are_there():
    """And a mount that can write nothing and run nothing."""
    assert {"hard", "proto=tcp", "mountproto=tcp", "retry=30", "ro", "nosuid", "nodev", "noexec"} <= set(options())


def test_version_connections_flavour_and_further_options_come_from_the_settings():
    """NFSv4 has no mount protocol, so nothing of it is asked for."""
    made = options(MountSettings(vers="4.2", nconnect=4, sec="krb5p", options="rsize=131072, noresvport"))
    assert {"vers=4.2", "nconnect=4", "sec=krb5p", "rsize=131072", "noresvport"} <= set(made)
    assert not [one for one in made if one.startswith("mountp")]


def test_ports_are_passed_on():
    """Where the portmapper is not to be asked."""
    assert {"port=2050", "mountport=2051"} <= set(options(nfs_port=2050, mount_port=2051))


@pytest.mark.parametrize("option", ["a b", "x\ny", "-o", 'q"', "$(id)"])
def test_an_option_that_could_be_taken_for_something_else_is_refused(option):
    """Before a program is started."""
    with pytest.raises(ConfigError):
        options(MountSettings(options=option))


@pytest.mark.parametrize("address", ["-o", "a b", "", "host;id", "a/b", "a\nb"])
def test_an_address_that_is_none_is_refused(address):
    """It stands on the command line of mount(8)."""
    with pytest.raises(MountError):
        table.source_of(mount(address=address))


@pytest.mark.parametrize("export", ["data", "/a\0b", "/../etc"])
def test_an_export_that_is_none_is_refused(export):
    """It becomes part of a path on this machine."""
    with pytest.raises((MountError, InvalidValue)):
        table.source_of(mount(export=export))


def test_an_ipv6_address_stands_in_brackets():
    """As mount.nfs wants it, over proto=tcp6."""
    assert table.source_of(mount(address="fd00::1")) == b"[fd00::1]:/data"
    assert "proto=tcp6" in options(address="fd00::1")


def test_the_kernels_table_is_read_with_its_escapes():
    """Spaces and backslashes are written in octal; what makes no sense is left out."""
    (entry,) = table.parse_mountinfo(LINE + b"\nnonsense\n\n1 2 3 - nfs")
    assert (entry.mount_point, entry.kind, entry.source) == (b"/mnt/a b", "nfs", b"10.0.0.1:/data\\x")
    assert entry.option("port") == "2050"


def test_a_mount_that_is_there_is_found_by_its_server_port_and_export():
    """One on another port, of another export, or a soft one is not ours to use."""
    entries = table.parse_mountinfo(
        b"1 0 0:40 / /soft rw - nfs 10.0.0.1:/data rw,soft\n"
        b"2 0 0:41 / /port rw - nfs 10.0.0.1:/data rw,port=2050\n"
        b"3 0 0:42 / /ours rw - nfs 10.0.0.1:/data rw,hard\n"
        b"4 0 0:43 / /other rw - nfs 10.0.0.1:/home rw,hard\n"
    )
    assert table.find(mount(), MountSettings(), b"/place", entries) == b"/ours"
    assert table.find(mount(nfs_port=2050), MountSettings(), b"/place", entries) == b"/port"
    assert table.find(mount(address="10.0.0.2"), MountSettings(), b"/place", entries) is None


def test_mounts_go_below_the_root_by_address_and_export():
    """Each export is one component, so that no mount lies inside another whatever the exports are called."""
    settings = MountSettings(root="/nowhere/cachewarmer")
    assert table.place_of(mount(export="/data"), settings) == b"/nowhere/cachewarmer/10.0.0.1/data"
    places = {
        table.place_of(mount(export=export), settings)
        for export in ("/", "/data", "/data/a", "/data%2Fa", "/" + "x" * 300, "/" + "x" * 301)
    }
    assert len(places) == 6
    assert {os.path.dirname(place) for place in places} == {b"/nowhere/cachewarmer/10.0.0.1"}
    assert max(len(os.path.basename(place)) for place in places) <= 255


def test_another_spelling_of_an_export_is_the_same_place():
    """Servers and users write more slashes than there need be."""
    settings = MountSettings(root="/nowhere")
    assert table.place_of(mount(export="//data/./a/"), settings) == table.place_of(mount(export="/data/a"), settings)


def test_directories_are_made_down_to_the_mount_point(tmp_path):
    """And made again, when they are there, without complaint."""
    place = bytes(tmp_path / "root" / "10.0.0.1" / "data")
    (tmp_path / "root").mkdir()
    for _ in range(2):
        table.prepare(str(tmp_path / "root"), place)
    assert os.path.isdir(place)


@pytest.mark.parametrize("where", ["10.0.0.1", "10.0.0.1/data"])
def test_a_link_on_the_way_to_a_mount_point_is_not_followed(tmp_path, where):
    """It could lead the mount over any directory of this machine."""
    (tmp_path / "etc" / "data").mkdir(parents=True)
    link = tmp_path / "root" / where
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "etc")
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        table.prepare(str(tmp_path / "root"), bytes(tmp_path / "root" / "10.0.0.1" / "data"))


def test_a_directory_that_others_may_write_to_is_no_place_for_mounts(tmp_path):
    """They could put a link there between the check and the mount."""
    (tmp_path / "root" / "10.0.0.1").mkdir(parents=True)
    (tmp_path / "root" / "10.0.0.1").chmod(0o777)
    with pytest.raises(PermissionError, match="others may write"):
        table.prepare(str(tmp_path / "root"), bytes(tmp_path / "root" / "10.0.0.1" / "data"))


def test_a_mount_point_inside_another_file_system_is_refused(monkeypatch, tmp_path):
    """What is mounted there belongs to a server, links and all."""
    root = tmp_path / "root"
    (root / "10.0.0.1").mkdir(parents=True)
    inner = os.stat(root / "10.0.0.1").st_ino
    real = os.fstat

    def elsewhere(fd):
        found = real(fd)
        if found.st_ino != inner:
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:10]))

    monkeypatch.setattr(table.os, "fstat", elsewhere)
    with pytest.raises(OSError, match="something else is mounted there"):
        table.prepare(str(root), bytes(root / "10.0.0.1" / "data"))
