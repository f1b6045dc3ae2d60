"""Lists as pipelines write them, and parts of files, counted at the door of NFS-Ganesha."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack

import pytest

from cachewarmer.testing import Faults, ScriptedServer
from tests.integration.caches import Bytes, read_of
from tests.servers.ganesha import ganesha

MIB = 1 << 20
SIZES = {"plate.1001.exr": 300_000, "plate.1002.exr": 300_000, "large": 3 * MIB, "small": 100, "empty": 0}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir(mode=0o755)
    for name, size in SIZES.items():
        (root / name).write_bytes(os.urandom(size))
    return root


async def run(*arguments, stdin=b""):
    """The exit code, the document, and what was said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode, json.loads(out) if out else None, said.decode()


LIST = b"large\t1000000\t500000\nlarge\t1200000\t500000\nsmall\t90\t1000\nplate.####.exr 1001-1003\nempty\n"


ASKED = (
    (("--files-from", "-"), [(1_000_000, 1_700_000), (90, 100), (0, 300_000), (0, 300_000)]),
    (("--head", "1000"), [(0, 1000), (0, 1000), (0, 1000), (0, 100)]),
    (("--head", "1000", "--tail", "200k", "--exclude", "plate*"), [(0, 1000), (3 * MIB - 204_800, 3 * MIB), (0, 100)]),
)
"""Options, and the bytes that READs are to ask for."""


async def test_ranges_frames_and_ends_are_all_that_is_asked_for(tree):
    """Each wanted byte once, however often the list names it; what is missing and what is cut is said."""
    with ganesha(tree, max_read=65536) as server:
        for options, wanted in ASKED:
            async with Bytes("127.0.0.1", server.nfs_port) as proxy:
                target = server.target().replace(str(server.nfs_port), str(proxy.port))
                code, report, said = await run("warm", target, "--json", *options, stdin=LIST)
            listed = options[0] == "--files-from"
            assert code == (3 if listed else 0), said
            assert sorted(joined(proxy.ranges().values())) == sorted(wanted)
            assert report["bytes"] == sum(stop - start for start, stop in wanted)
            assert sum(count for _, _, count in proxy.asked) == report["bytes"], "a byte was read twice"
            assert report["files"] == (3 if "--exclude" in options else 5)
            scanned = (await run("scan", server.target(), "--json", *options, stdin=LIST))[1]
            for count in ("files", "bytes", "partial_files", "left_out_bytes", "failed_files"):
                assert scanned[count] == report[count]
            if listed:
                assert (report["partial_files"], report["left_out_bytes"]) == (2, 3 * MIB - 700_000 + 90)
                assert [one["path"] for one in report["errors"]] == [f"{server.export}/plate.1003.exr"]
                assert any("past the end" in one and "/small" in one for one in report["warnings"])


def joined(files):
    for ranges in files:
        at, end = ranges[0]
        for start, stop in ranges[1:]:
            if start != end:
                yield at, end
                at = start
            end = stop
        yield at, end


async def test_a_list_in_order_is_read_in_order(tree):
    """File by file, and each from its beginning, also where a large one is followed by small ones."""
    names = ["large", "small", "plate.1002.exr", "plate.1001.exr"]
    with ganesha(tree, max_read=65536) as server:
        async with Bytes("127.0.0.1", server.nfs_port, delay_seconds=0.005) as proxy:
            target = server.target().replace(str(server.nfs_port), str(proxy.port))
            options = ("--connections", "1", "--window", "8", "--in-order", "--files-from", "-")
            code, _, said = await run("warm", target, "--json", *options, stdin="\n".join(names).encode())
    assert code == 0, said
    order = list(dict.fromkeys(handle for handle, _, _ in proxy.asked))
    expected = [SIZES[name] for name in names]
    assert [sum(count for one, _, count in proxy.asked if one == handle) for handle in order] == expected
    assert proxy.asked == sorted(proxy.asked, key=lambda one: (order.index(one[0]), one[1]))


class WhoAsked(ScriptedServer):
    """Notes which file is asked for on which connection, by its size."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.asked = {}
        self._on = None
        answer = self.procedures.answer

        def noted(record, **about):
            if (key := read_of(record)) is not None:
                size = self.procedures.tree.find(key[0]).size
                self.asked.setdefault(self._on, []).append((size, key[1]))
            return answer(record, **about)

        self.procedures.answer = noted

    def _connected(self):
        link = super()._connected()
        received = link.data_received

        def noted(data):
            self._on = link
            received(data)

        link.data_received = noted
        return link


async def test_each_of_two_workers_keeps_the_order_of_the_list(tmp_path, monkeypatch):
    """Each reads what it is handed from the list's beginning to its end, and nothing is read by both of them."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[plan]\nitem_files = 3\nitem_bytes = 100000\nrange_bytes = 100000\n[nfs]\nwindow_calls = 4\n")
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(settings))
    sizes = [40_000 + 977 * (number * 37 % 120) for number in range(120)]
    tree = {b"f%d" % size: size for size in sizes}
    names = b"".join(b"f%d\n" % size for size in sizes)
    async with WhoAsked(tree, Faults(rtmax=16384, read_delay=0.002)) as server:
        options = ("--connections", "1", "--processes", "2", "--in-order", "--files-from", "-")
        code, report, said = await run("warm", server.url(), "--json", *options, stdin=names)
    assert (code, report["files"]) == (0, 120), said
    places = {size: place for place, size in enumerate(sizes)}
    for asked in server.asked.values():
        order = [(places[size], start) for size, start in asked]
        assert order == sorted(order)
    asked = [one for some in server.asked.values() for one in some]
    assert len(set(asked)) == len(asked)


RECORDS = (
    {
        "empty": ("read", 0),
        "large": ("part", 700_000),
        "plate.1001.exr": ("read", 300_000),
        "plate.1002.exr": ("read", 300_000),
        "plate.1003.exr": ("failed", 0),
        "small": ("part", 10),
    },
    {
        "empty": ("read", 0),
        "large": ("part", 1000),
        "plate.1001.exr": ("part", 1000),
        "plate.1002.exr": ("part", 1000),
        "small": ("read", 100),
    },
    {"empty": ("read", 0), "large": ("part", 205_800), "small": ("read", 100)},
    {name: ("read", size) for name, size in SIZES.items()},
)
"""What the ledger of each of ``ASKED`` holds, and of a list of all files in order."""
SMALL_ITEMS = "[plan]\nitem_files = 1\nitem_bytes = 65536\nrange_bytes = 262144\n[lease]\npoll_seconds = 0.1\n[nfs]\nwindow_calls = 2\n"


@pytest.mark.parametrize("shared_broker", ["postgres", "azurite"], indirect=True)
async def test_two_workers_of_a_fleet_read_just_what_lists_ask_for(tree, tmp_path, shared_broker, monkeypatch):
    """Each wanted byte once at the door of the server, one record a file, and the totals of one machine."""
    settings = tmp_path / "settings.toml"
    settings.write_text(SMALL_ITEMS)
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(settings))
    at_broker = ("--broker", shared_broker)
    in_order = "\n".join(SIZES).encode()
    asked = [*ASKED, (("--in-order", "--files-from", "-"), [(0, size) for size in SIZES.values() if size])]
    with ganesha(tree, max_read=65536) as server:
        async with AsyncExitStack() as proxies:
            posted = []
            for options, _ in asked:
                proxy = Bytes("127.0.0.1", server.nfs_port, delay_seconds=0.06)
                await proxies.enter_async_context(proxy)
                target = server.target().replace(str(server.nfs_port), str(proxy.port))
                names = in_order if "--in-order" in options else LIST
                code, job, said = await run(
                    *("submit", target, "--keep-ledger", "--json", *at_broker, *options), stdin=names
                )
                assert code == 0, said
                posted.append((proxy, job["job"]))
            code, _, said = await run(
                *("manager", *at_broker, "--fleet", "local", "--workers", "2", "--exit-when-idle", "1")
            )
            assert code == 0, said
            workers = set()
            for (proxy, job), (_, wanted), records in zip(posted, asked, RECORDS, strict=True):
                _, exported, said = await run("export", job, *at_broker)
                report = exported["report"]
                assert sorted(joined(proxy.ranges().values())) == sorted(wanted), said
                assert sum(count for _, _, count in proxy.asked) == report["bytes"], "a byte was read twice"
                found = {one["path"].rpartition("/")[2]: (one["status"], one["bytes"]) for one in exported["ledger"]}
                assert (found, len(exported["ledger"])) == (records, len(records))
                assert report["files"] == sum(status != "failed" for status, _ in records.values())
                workers.update(one["worker"] for one in report["workers"])
            assert len(workers) == 2
