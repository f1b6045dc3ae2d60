"""The direct reader against NFS-Ganesha as sites configure it: small READs, privileged ports, IPv6, who may."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.servers.ganesha import GaneshaExport, ganesha
from tests.servers.need import need

SIZES = {"small": 1000, "even": 3 * 65536, "odd": 1_000_001}


@pytest.fixture
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    root.chmod(0o755)
    for name, size in SIZES.items():
        (root / name).write_bytes(os.urandom(size))
    return root


def warm(target, *options, before=()):
    return subprocess.run(
        [*before, sys.executable, "-m", "cachewarmer", "warm", target, "--json", "--transport", "nfs", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_reads_of_at_most_64_kib(tree):
    """The server's rtmax is kept: every byte is read once, in as many READs as that takes."""
    with ganesha(tree, max_read=65536) as server:
        done = warm(server.target())
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["bytes"]) == (3, sum(SIZES.values()))
    assert report["calls"] == sum(-(-size // 65536) for size in SIZES.values())


def test_a_privileged_port_is_used_where_we_may_and_named_where_we_may_not(tree):
    """Who may bind a port below 1024 does so unasked; who may not is told that this is what is missing."""
    need(os.geteuid() == 0 and shutil.which("setpriv"), "setpriv (util-linux), as root, takes the capability away")
    with ganesha(tree, privileged_port=True) as server:
        assert warm(server.target()).returncode == 0
        capability = "-net_bind_service"
        without = ["setpriv", f"--inh-caps={capability}", f"--bounding-set={capability}"]
        refused = warm(server.target(), before=without)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "privileged" in refused.stderr or "below 1024" in refused.stderr, refused.stderr


def test_over_ipv6(tree):
    """An address in brackets."""
    with ganesha(tree, address="::1") as server:
        done = warm(server.target())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 3


def test_an_export_that_is_not_for_us(tree, tmp_path):
    """One line that says which export denies us; the one beside it is warmed."""
    closed = tmp_path / "closed"
    closed.mkdir()
    with ganesha(tree, also=[GaneshaExport(path=closed, pseudo="/closed", clients="192.0.2.1")]) as server:
        denied = warm(server.target().replace(server.export, str(closed)))
        allowed = warm(server.target())
    assert denied.returncode == 1
    assert denied.stderr.count("\n") == 1, denied.stderr
    assert str(closed) in denied.stderr
    assert allowed.returncode == 0, allowed.stderr


def test_a_symlink_loop_is_skipped(tree):
    """Links are counted, not followed."""
    (tree / "loop").symlink_to(tree)
    (tree / "around").symlink_to("around")
    with ganesha(tree) as server:
        report = json.loads(warm(server.target()).stdout)
    assert (report["state"], report["files"], report["skipped_files"]) == ("completed", 3, 2)


def test_names_of_one_file_and_links_to_another(tree):
    """A file is read under the smallest of its names; a link to a file elsewhere in the export is read through."""
    for directory in ("t/a", "t/b", "o"):
        (tree / directory).mkdir(parents=True)
    (tree / "t/b/name").write_bytes(b"x" * 100)
    os.link(tree / "t/b/name", tree / "t/a/name")
    (tree / "o/other").write_bytes(b"y" * 70)
    (tree / "t/link").symlink_to("../o/other")
    (tree / "t/again").symlink_to("link")
    (tree / "t/away").symlink_to("/etc/hostname")
    with ganesha(tree) as server:
        target = server.target("/t")
        plain, followed = (json.loads(warm(target, *options).stdout) for options in ((), ("--follow-links",)))
        each = json.loads(warm(target, "--no-hardlink-dedup").stdout)
    shown = ("files", "bytes", "hardlinks", "links", "skipped_files")
    assert [plain[key] for key in shown] == [1, 100, 1, 3, 3]
    assert [followed[key] for key in shown] == [2, 170, 2, 3, 1]
    assert [each[key] for key in shown] == [2, 200, 0, 3, 3]


def test_an_export_that_the_export_above_shows_as_well(tree):
    """What is in it is warmed once."""
    (tree / "nested").mkdir()
    (tree / "nested" / "inside").write_bytes(b"z" * 7)
    with ganesha(tree, also=[GaneshaExport(path=tree / "nested", pseudo=f"{tree}/nested")]) as server:
        report = json.loads(warm(server.target()).stdout)
    assert (report["files"], report["bytes"]) == (4, sum(SIZES.values()) + 7), report
