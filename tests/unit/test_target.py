import pytest

from cachewarmer.errors import UsageError
from cachewarmer.model import Access, Transport, Wanted
from cachewarmer.target import Target, make_job, parse_rate, parse_size, parse_target, parse_time


def at(*addresses, path, **access):
    """A target at some addresses."""
    return Target(access=Access(addresses=addresses, **access), path=path)


LOCAL = Access(transport=Transport.LOCAL)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("nfs://filer/projects/shot42", at("filer", path="/projects/shot42")),
        ("nfs://10.0.1.7,10.0.1.8/data", at("10.0.1.7", "10.0.1.8", path="/data")),
        ("10.0.1.7,10.0.1.8:/data//tools/", at("10.0.1.7", "10.0.1.8", path="/data/tools")),
        ("[fe80::1]:/data", at("fe80::1", path="/data")),
        ("[fe80::1%eth0],b:/data", at("fe80::1%eth0", "b", path="/data")),
        ("nfs://[::1]:2050/data", at("::1", path="/data", nfs_port=2050)),
        ("nfs://a/x%20y%FF", at("a", path="/x y\udcff")),
        (
            "nfs://a/data/x?nfsport=1&mountport=2&uid=3&gid=4&gids=5,6&export=/data",
            at("a", export="/data", path="/x", nfs_port=1, mount_port=2, uid=3, gid=4, gids=(5, 6)),
        ),
        ("nfs://a", at("a", path="/")),
        ("filer:/", at("filer", path="/")),
        ("/tmp", Target(access=LOCAL, path="/tmp")),
        ("/a:/b", Target(access=LOCAL, path="/a:/b")),
    ],
)
def test_targets_are_read_as_people_write_them(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("cache1:projects/shot", "cache1:/projects/shot"),
        ("cache1", "cache1:/PATH"),
        ("a,b,c", "a,b,c:/PATH"),
        ("10.0.0.7/data/shots", "10.0.0.7:/data/shots"),
        ("cache1:2049:/p", "nfs://cache1:2049/PATH"),
        ("fe80::1:/p", "[fe80::1]"),
        ("nfs//a/x", "nfs://a/x"),
        ("C:\\data", "a target is ADDRESS"),
        ("\\\\server\\share", "a target is ADDRESS"),
        ("s3://bucket/key", "nfs://ADDRESS/PATH"),
        ("nfs://a/x?vers=4", "nfsport"),
        ("nfs://a/x?exprt=/y", "export"),
    ],
)
def test_a_mistyped_target_says_what_may_have_been_meant(text, meant, tmp_path, monkeypatch):
    """As far as it can be told from the text and from what is there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert meant in str(caught.value)
    assert str(caught.value).startswith(text)


def test_what_looks_like_an_address_and_is_there_is_a_path(tmp_path, monkeypatch):
    """A file may be called anything."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache1:p").touch()
    assert parse_target("cache1:p") == Target(access=LOCAL, path=str(tmp_path / "cache1:p"))


@pytest.mark.parametrize(
    "text",
    [
        "a," * 200_000,
        "[" * 400_000,
        "a:" * 200_000 + "/x",
        "[::1]," * 60_000 + ":/x",
        "nfs://" + "a:1," * 100_000 + "/x?" + "a=1&" * 1000,
        "1." * 200_000 + "x",
        "a" * 400_000 + ":/",
    ],
)
def test_a_target_is_parsed_in_linear_time(text):
    """Whatever it is made of: at 400,000 characters anything worse would not end."""
    with pytest.raises(UsageError):
        parse_target(text)


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
    assert (job.access.transport, job.access.addresses) == (Transport.LOCAL, ())


def test_transport_must_fit_the_target():
    with pytest.raises(UsageError):
        make_job(parse_target("/tmp"), transport=Transport.NFS)
    with pytest.raises(UsageError):
        make_job(parse_target("a:/x"), transport=Transport.LOCAL)
    with pytest.raises(UsageError):
        make_job(parse_target("a:/x"), Wanted(include=("[",)))


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


def test_a_target_says_whether_a_name_stands_for_all_its_addresses():
    assert not parse_target("nfs://a/p").resolve_first
    assert not parse_target("nfs://a/p?resolve=all").resolve_first
    assert parse_target("nfs://a/p?resolve=first&uid=1").resolve_first
    with pytest.raises(UsageError, match="resolve must be all or first"):
        parse_target("nfs://a/p?resolve=last")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0", 0),
        ("200M", 200 << 20),
        ("100MB/s", 100_000_000),
        ("64KiB/s", 1 << 16),
        ("800Mbit", 100_000_000),
        ("2.5 Gbit/s", 312_500_000),
        ("1Mibit", 1 << 17),
        ("80bit", 10),
        ("10mbits", 1_250_000),
        ("1Gbps", None),
        ("1Gbitps", 125_000_000),
    ],
)
def test_rates_are_in_bytes_or_bits(text, rate):
    """``Gbps`` alone could be read either way, and is refused."""
    if rate is None:
        with pytest.raises(UsageError):
            parse_rate(text)
    else:
        assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "M", "-1", "bit", "5bit", "1ibit", "1X/s", "99999999Pbit", "1M/h", "/s"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(UsageError):
        parse_rate(text)


def test_times():
    assert parse_time("3d", 1_000_000.0) == 1_000_000 - 3 * 86400
    assert parse_time("@5", 0) == 5
    assert parse_time("2026-11-01T00:00:00+00:00", 0) == 1793491200
    assert parse_time("2026-11-01", 0) != 0
    for text in ("yesterday", "3", "3y", "2026-13-01"):
        with pytest.raises(UsageError):
            parse_time(text, 0)
