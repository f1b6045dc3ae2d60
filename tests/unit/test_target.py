import pytest

from cachewarmer.errors import UsageError
from cachewarmer.target import Target, make_job, parse_size, parse_target, parse_time


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("nfs://filer/projects/shot42", Target(addresses=("filer",), path="/projects/shot42")),
        ("nfs://10.0.1.7,10.0.1.8/data", Target(addresses=("10.0.1.7", "10.0.1.8"), path="/data")),
        ("10.0.1.7,10.0.1.8:/data//tools/", Target(addresses=("10.0.1.7", "10.0.1.8"), path="/data/tools")),
        ("[fe80::1]:/data", Target(addresses=("fe80::1",), path="/data")),
        ("nfs://[::1]:2050/data", Target(addresses=("::1",), path="/data", nfs_port=2050)),
        ("nfs://a/x%20y%FF", Target(addresses=("a",), path="/x y\udcff")),
        (
            "nfs://a/data/x?nfsport=1&mountport=2&uid=3&gid=4&gids=5,6&export=/data",
            Target(addresses=("a",), export="/data", path="/x", nfs_port=1, mount_port=2, uid=3, gid=4, gids=(5, 6)),
        ),
        ("nfs://a", Target(addresses=("a",), path="/")),
        ("filer:/", Target(addresses=("filer",), path="/")),
        ("/tmp", Target(path="/tmp")),
        ("/a:/b", Target(path="/a:/b")),
    ],
)
def test_targets_are_read_as_people_write_them(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nfs:///x",
        "nfs://a/x?foo=1",
        "nfs://a/x?uid=-1",
        "nfs://a/x?nfsport=65536",
        "http://a/x",
        "nfs://a b/x",
        "a,,b:/x",
        "-a:/x",
        "nfs://a/x?export=/y",
        "a:/x/../y",
        "nfs://a/x%00",
        "nfs://a/x?gids=" + ",".join("1" * 17),
    ],
)
def test_a_target_that_makes_no_sense_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse_target(text)


def test_a_local_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_target(".").path == str(tmp_path)
    job = make_job(parse_target("."))
    assert (job.transport, job.mount_addresses) == ("local", ())


def test_transport_must_fit_the_target():
    with pytest.raises(UsageError):
        make_job(parse_target("/tmp"), transport="nfs")
    with pytest.raises(UsageError):
        make_job(parse_target("a:/x"), transport="local")
    with pytest.raises(UsageError):
        make_job(parse_target("a:/x"), include=["["])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("500M", 500 << 20),
        ("2GiB", 2 << 30),
        ("1.5GB", 1_500_000_000),
        ("3k", 3072),
        ("7B", 7),
        ("1t", 1 << 40),
    ],
)
def test_sizes(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1e3", "99999999P", "1 2"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError):
        parse_size(text)


def test_times():
    assert parse_time("3d", 1_000_000.0) == 1_000_000 - 3 * 86400
    assert parse_time("@5", 0) == 5
    assert parse_time("2026-11-01T00:00:00+00:00", 0) == 1793491200
    assert parse_time("2026-11-01", 0) != 0
    for text in ("yesterday", "3", "3y", "2026-13-01"):
        with pytest.raises(UsageError):
            parse_time(text, 0)
