"""``--each-address``: caches of their own, each of which gets everything, whatever becomes of the others."""

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack

import pytest

import cachewarmer
from cachewarmer.testing import Faults, ModelCache, ScriptedServer
from tests.integration.caches import Bytes, KeepingCache

TREE = {b"d%d" % d: {b"f%d" % f: 1000 * f for f in range(40)} for d in range(10)} | {b"big": 3_000_000}
SIZES = {f"/export/d{d}/f{f}": 1000 * f for d in range(10) for f in range(40)} | {"/export/big": 3_000_000}
FILES = len(SIZES)
BYTES = sum(SIZES.values())
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


async def run(*arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, json.loads(out) if out else {}, err.decode()


@pytest.fixture
async def caches():
    """Three servers at one port of three addresses."""
    first = ScriptedServer(TREE, host=HOSTS[0])
    await first.start()
    servers = [first]
    for host in HOSTS[1:]:
        servers.append(ScriptedServer(TREE, Faults(read_delay=0.05), host=host, port=first.port))
        await servers[-1].start()
    yield servers
    for server in servers:
        await server.close()


def target_of(caches, hosts=HOSTS):
    port = caches[0].port
    return f"nfs://{','.join(hosts)}/export?nfsport={port}&mountport={port}"


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
async def test_each_cache_is_read_once_and_in_full(caches, options):
    code, report, said = await run("warm", target_of(caches), "--each-address", "--json", *options)
    assert code == 0, said
    assert [server.read_bytes for server in caches] == [BYTES] * 3
    assert (report["files"], report["bytes"]) == (3 * FILES, 3 * BYTES)
    assert [(one["address"], one["files"], one["bytes"], one["complete"]) for one in report["addresses"]] == [
        (host, FILES, BYTES, True) for host in HOSTS
    ]


async def test_only_a_replaced_node_is_warmed_again(caches):
    options = ("--each-address", "--address-subset", HOSTS[1])
    code, _, said = await run("warm", target_of(caches), *options, "--json")
    assert code == 0, said
    assert [server.read_bytes for server in caches] == [0, BYTES, 0]
    code, _, said = await run("warm", target_of(caches), "--each-address", "--address-subset", "127.0.0.9", "--json")
    assert (code, said.count("\n")) == (2, 1)


async def run_while_it_dies(caches, dying, given, *options):
    """Warms each address, and closes one of them when it has given a quarter of the tree, as ``given`` says."""

    async def kill():
        while given() < BYTES / 4:
            await asyncio.sleep(0.001)
        await dying.close()

    killing = asyncio.create_task(kill())
    ended = await run("warm", target_of(caches), "--each-address", "--patience", 3, "--json", *options)
    await killing
    return ended


def ledger_of(path):
    """The records of each address: whether a path was read, or failed."""
    found = {host: {} for host in HOSTS}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        assert one["path"] not in found[one["address"]]
        found[one["address"]][one["path"]] = one["status"]
    return found


async def test_one_that_is_killed_in_mid_job_is_named_and_the_others_complete(caches, tmp_path):
    """What was listed there and not read has failed, each file by its name; ``--failed-of`` reads just what is missing."""
    state, ledger = f"sqlite:///{tmp_path}/jobs", tmp_path / "ledger.jsonl"
    options = ("--broker", state, "--ledger", ledger)
    await caches[2].close()
    unfinished = Faults(read_delay=0.05, reads_answered=300)  # so that the job is not over before it is killed
    dying = caches[2] = ScriptedServer(TREE, unfinished, host=HOSTS[2], port=caches[0].port)
    await dying.start()
    code, report, said = await run_while_it_dies(caches, dying, lambda: dying.read_bytes, *options)
    assert code == 3, said
    by_address = {one["address"]: one for one in report["addresses"]}
    for host in HOSTS[:2]:
        assert (by_address[host]["files"], by_address[host]["bytes"], by_address[host]["complete"]) == (
            *(FILES, BYTES),
            True,
        )
    lost = by_address[HOSTS[2]]
    assert not lost["complete"]
    assert report["scanned_files"] == 2 * FILES + lost["files"] + lost["failed_files"]
    assert lost["failed_files"] == report["failed_files"] > 0
    assert report["errors"]
    assert all(HOSTS[2] in one["error"] for one in report["errors"])
    assert not any("neither read nor" in one for one in report["warnings"])
    told = ledger_of(ledger)
    assert [Counter(told[host].values()) for host in HOSTS[:2]] == [Counter(read=FILES)] * 2
    assert told[HOSTS[2]].pop("/export", "failed") == "failed"  # where it went before all of it was listed
    assert Counter(told[HOSTS[2]].values()) == Counter(read=lost["files"], failed=lost["failed_files"])
    async with ScriptedServer(TREE, host=HOSTS[2], port=caches[0].port) as again:
        code, second, said = await run("warm", "--failed-of", report["job"], "--broker", state, "--json")
        assert code == 0, said
        assert [one["address"] for one in second["addresses"]] == [HOSTS[2]]
        assert (second["files"], second["addresses"][0]["complete"]) == (FILES - lost["files"], True)
        left = sum(size for path, size in SIZES.items() if told[HOSTS[2]].get(path) != "read")
        assert again.read_bytes == second["bytes"] == left


async def test_one_that_was_never_there_is_named_and_the_others_complete(caches):
    await caches[1].close()
    code, report, said = await run("warm", target_of(caches), "--each-address", "--json")
    assert code == 3, said
    assert [one["files"] for one in report["addresses"]] == [FILES, 0, FILES]
    assert [one["complete"] for one in report["addresses"]] == [True, False, True]
    assert any(HOSTS[1] in one["error"] for one in report["errors"])


async def test_what_an_address_that_was_never_there_lacks_is_read_when_it_is_back(caches, tmp_path):
    """All of the tree, or all of a list, at that address alone; the others are complete without a byte."""
    names = ["d1/f39", "/export/big", "d2/f1"]
    (tmp_path / "list").write_text("\n".join(names))
    await caches[1].close()
    for number, (listed, files) in enumerate([((), FILES), (("--files-from", tmp_path / "list"), 3)]):
        state = ("--broker", f"sqlite:///{tmp_path}/jobs{number}")
        target = target_of(caches)
        code, report, said = await run("warm", target, "--each-address", "--keep-ledger", "--json", *listed, *state)
        assert code == 3, said
        assert [one["files"] for one in report["addresses"]] == [files, 0, files]
        assert report["addresses"][1]["failed_files"] == (3 if listed else 0)
        assert report["addresses"][1]["failed_directories"] == (0 if listed else 1)
        async with ScriptedServer(TREE, host=HOSTS[1], port=caches[0].port):
            code, second, said = await run("warm", "--failed-of", report["job"], *state, "--json")
            assert code == 0, said
            assert [(one["address"], one["files"], one["complete"]) for one in second["addresses"]] == [
                (HOSTS[1], files, True)
            ]
            code, third, said = await run("warm", target, "--each-address", "--since", report["job"], "--json", *state)
            assert code == 0, said
            assert [(one["files"], one["unchanged_files"], one["complete"]) for one in third["addresses"]] == (
                [(FILES - files, files, True), (FILES, 0, True), (FILES - files, files, True)]
            )


async def test_where_none_answers_the_job_fails(caches):
    for server in caches:
        await server.close()
    code, _, said = await run("warm", target_of(caches), "--each-address", "--json")
    assert code == 1, said


# -- three caches before one origin --------------------------------------------------------------------------------

BLOCK = 64 * 1024
BLOCK_BYTES = BLOCK * (10 * 39 + -(-3_000_000 // BLOCK))
"""What READs of the whole tree fetch, block by block: one block a small file, but for those that are empty."""


@pytest.fixture
async def cluster():
    """Three caches at one port of three addresses, 20 ms before one origin; they know each other as ``peers`` says."""
    async with ScriptedServer(TREE) as origin, AsyncExitStack() as stack:
        caches = [ModelCache(origin.host, origin.port, listen_host=HOSTS[0])]
        await stack.enter_async_context(caches[0])
        for host in HOSTS[1:]:
            caches.append(ModelCache(origin.host, origin.port, listen_host=host, listen_port=caches[0].port))
            await stack.enter_async_context(caches[-1])
        yield caches


def make_peers(caches):
    for cache in caches:
        cache.peers = [other for other in caches if other is not cache]


async def kill(cache):
    """Ends a cache when it has fetched a quarter."""
    while cache.origin_bytes + cache.peer_bytes < BLOCK_BYTES / 4:
        await asyncio.sleep(0.005)
    await cache.close()


async def test_without_peers_each_byte_is_read_from_the_origin_by_each(cluster):
    code, report, said = await run("warm", target_of(cluster), "--each-address", "--json")
    assert code == 0, said
    assert [cache.origin_bytes for cache in cluster] == [BLOCK_BYTES] * 3
    assert [(one["files"], one["bytes"]) for one in report["addresses"]] == [(FILES, BYTES)] * 3


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
async def test_fanned_out_each_byte_is_read_from_the_origin_once(cluster, options):
    make_peers(cluster)
    code, report, said = await run("warm", target_of(cluster), "--each-address", "--fan-out", "--json", *options)
    assert code == 0, said
    assert [cache.origin_bytes for cache in cluster] == [BLOCK_BYTES, 0, 0]
    assert [cache.peer_bytes for cache in cluster] == [0, BLOCK_BYTES, BLOCK_BYTES]
    assert [(one["address"], one["files"], one["bytes"], one["complete"]) for one in report["addresses"]] == [
        (host, FILES, BYTES, True) for host in HOSTS
    ]


async def test_peers_that_are_warmed_at_the_same_time_fetch_much_twice(cluster):
    """Which is why there is ``--fan-out``."""
    make_peers(cluster)
    code, _, said = await run("warm", target_of(cluster), "--each-address", "--json")
    assert code == 0, said
    assert sum(cache.origin_bytes for cache in cluster) > 1.2 * BLOCK_BYTES


@pytest.mark.parametrize("options", [(), ("--fan-out",)], ids=["parallel", "fan-out"])
@pytest.mark.parametrize("dying", [0, 2])
async def test_of_three_caches_one_dies_and_the_others_complete(cluster, options, dying):
    if options:
        make_peers(cluster)
    killing = asyncio.create_task(kill(cluster[dying]))
    code, report, said = await run("warm", target_of(cluster), "--each-address", "--patience", 3, "--json", *options)
    await killing
    assert code == 3, said
    by_address = {one["address"]: one for one in report["addresses"]}
    lost = by_address.pop(HOSTS[dying])
    assert {(one["files"], one["bytes"], one["complete"]) for one in by_address.values()} == {(FILES, BYTES, True)}
    assert not lost["complete"]
    assert 0 < lost["files"] + lost["failed_files"] <= FILES  # it may have gone before all of it was listed
    assert report["errors"]
    assert all(HOSTS[dying] in one["error"] for one in report["errors"])
    if options:
        left = [cache.origin_bytes for number, cache in enumerate(cluster) if number != dying]
        # Where the first died, the second takes its place: what that one had is gone, and is fetched once more.
        assert left == [BLOCK_BYTES, 0]


async def test_fan_out_is_for_each_address(cluster):
    code, _, said = await run("warm", target_of(cluster), "--fan-out")
    assert (code, said.count("\n")) == (2, 1)
    assert "--each-address" in said


# -- counted at the door of the origin -----------------------------------------------------------------------------


@pytest.fixture
async def counted():
    """What passes the door of one origin, and three caches before it that keep what they have read."""
    async with ScriptedServer(TREE) as origin, AsyncExitStack() as stack:
        door = await stack.enter_async_context(Bytes(origin.host, origin.port))
        caches = []
        for host in HOSTS:
            port = caches[0].port if caches else 0
            caches.append(await stack.enter_async_context(KeepingCache(door.port, host, port)))
        yield door, caches


@pytest.mark.parametrize(("options", "times"), [((), 3), (("--fan-out",), 1)], ids=["each", "fan-out"])
async def test_the_origin_sends_each_byte_three_times_or_once(counted, options, times):
    """By the READs that came to it, whatever the command says of them; a warm cache asks for nothing."""
    door, caches = counted
    if options:
        make_peers(caches)
    code, report, said = await run("warm", target_of(caches), "--each-address", "--json", *options)
    assert code == 0, said
    assert set(Counter(door.asked).values()) == {times}
    assert door.read_asked == door.read_answered == times * BYTES
    assert [(one["files"], one["bytes"]) for one in report["addresses"]] == [(FILES, BYTES)] * 3
    code, _, said = await run("warm", target_of(caches), "--each-address", "--json", *options)
    assert code == 0, said
    assert door.read_asked == times * BYTES


async def test_the_origin_sends_each_byte_twice_where_the_third_cache_is_killed(counted):
    """And what that one had fetched; the others are complete, and it is named."""
    door, caches = counted
    dying = caches[2]
    code, report, said = await run_while_it_dies(caches, dying, lambda: dying.fetched)
    assert code == 3, said
    *others, lost = report["addresses"]
    assert [(one["files"], one["bytes"], one["complete"]) for one in others] == [(FILES, BYTES, True)] * 2
    assert (lost["address"], lost["complete"]) == (HOSTS[2], False)
    assert 0 < lost["files"] + lost["failed_files"] <= FILES  # it may have gone before all of it was listed
    assert lost["bytes"] <= dying.fetched < BYTES
    assert [cache.fetched for cache in caches[:2]] == [BYTES] * 2
    assert 2 * BYTES < door.read_asked <= 2 * BYTES + dying.fetched
    assert report["bytes"] == 2 * BYTES + lost["bytes"]
    assert report["errors"]
    assert all(HOSTS[2] in one["error"] for one in report["errors"])


# -- each cache judged by itself -----------------------------------------------------------------------------------

SAMPLED = ("--samples", "60", "--seed", "3")


async def test_each_cache_is_judged_by_itself(cluster):
    """One is warm, one is cold, one is dead: each has its own fraction, and one short of what is expected is enough."""
    code, _, said = await run("warm", target_of(cluster), "--each-address", "--address-subset", HOSTS[0], "--json")
    assert code == 0, said
    await cluster[2].close()
    cluster[1].origin_calls.clear()
    target = target_of(cluster)
    code, found, said = await run("verify", target, "--each-address", "--json", "--expect", "0.9", *SAMPLED)
    assert code == 3, said
    warm, cold, dead = found["targets"]
    assert [one["address"] for one in found["targets"]] == list(HOSTS)
    assert warm["warm_fraction"] >= 0.9
    assert warm["interval"][0] <= warm["warm_fraction"] <= warm["interval"][1]
    assert cold["warm_fraction"] <= 0.1
    assert cold["interval"][0] <= cold["warm_fraction"] <= cold["interval"][1]
    assert 0 < cluster[1].origin_calls["READ"] <= cold["samples"]
    assert (dead["warm_fraction"], dead["failed_samples"]) == (None, 60)
    assert HOSTS[2] in dead["errors"][0]["error"]
    assert not found["met"]
    code, found, said = await run(
        *("verify", target, "--each-address", "--address-subset", HOSTS[0], "--json", "--expect", "0.9", *SAMPLED)
    )
    assert (code, found["address"], found["met"]) == (0, HOSTS[0], True), said


async def test_a_program_gets_the_verdict_of_each(cluster):
    """``cachewarmer.verify`` of Python: one warm and one cold cache, and both together lie between them."""
    target = target_of(cluster, HOSTS[:2])
    code, _, said = await run("warm", target, "--each-address", "--address-subset", HOSTS[0], "--json")
    assert code == 0, said
    found = await cachewarmer.verify(target, each_address=True, samples=60, seed=3)
    warm, cold = found.addresses
    assert [one.address for one in found.addresses] == list(HOSTS[:2])
    assert warm.main.warm.value >= 0.9
    assert cold.main.warm.value <= 0.1
    assert (warm.meets(0.9), cold.meets(0.9), found.meets(0.9)) == (True, False, False)
    assert found.main.warm.value == pytest.approx((warm.main.warm.value + cold.main.warm.value) / 2)


async def test_the_fractions_stand_side_by_side_at_the_end_also_of_a_list(cluster):
    names = "\n".join(f"d{directory}/f39" for directory in range(10))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", "warm", target_of(cluster), "--each-address", "--files-from", "-"),
        *("--verify", "--expect", "0.5"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await asyncio.wait_for(process.communicate(names.encode()), 60)
    text = out.decode()
    assert process.returncode == 0, text + said.decode()
    last = text.rstrip().splitlines()[-4:]
    assert last[0] == "by address:"
    assert [line.split()[0] for line in last[1:]] == list(HOSTS)
    assert all("% warm" in line and "as expected" in line for line in last[1:])
    assert all(f"{host}:/export: 10 files" in text for host in HOSTS)


async def test_where_no_cache_answers_there_is_nothing_to_judge(cluster):
    for cache in cluster:
        await cache.close()
    code, _, said = await run("verify", target_of(cluster), "--each-address")
    assert code == 1
    assert said.splitlines()[-1].startswith(f"cachewarmer: {HOSTS[0]}: "), said
