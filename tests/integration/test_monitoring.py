"""The alert rules and the dashboard of deploy/monitoring, in a real Prometheus that scrapes a real page's server."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from cachewarmer.broker import open_broker
from cachewarmer.broker.counted import CallCounts
from cachewarmer.config import Settings
from cachewarmer.fleet.base import FleetSize
from cachewarmer.model import (
    Access,
    AddressReport,
    InHand,
    JobState,
    JobStatus,
    ScanTotals,
    Transport,
    WarmJob,
    WorkerReport,
)
from cachewarmer.web import HttpSettings, WebServer
from cachewarmer.web.documents import fleet_document
from cachewarmer.web.metrics import Seen, families
from tests.servers.need import need
from tests.servers.ports import free_port, stop

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yml"
FLEET = fleet_document("f", FleetSize(exists=True, wanted=3, running=2, evicted=1), [], 0, 0.0)
ROW = WorkerReport(
    worker="w1",
    host="h",
    pid=1,
    jobs=(InHand(job="j1", items=1),),
    addresses=(AddressReport(address="10.0.0.1", window=8, calls=3, latencies=((40, 3),), silent_seconds=500.0),),
)
TOKEN = "a-token-that-nobody-guesses"


def queries():
    """Of every panel, with its variable filled in as Grafana does for "All"."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]]


def test_promtool_accepts_the_rules():
    """Their syntax, and that of their templates."""
    need(shutil.which("promtool") is not None, "needs promtool")
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_is_asked_for_is_told():
    """A name that was changed would leave a panel empty and an alert silent."""
    job = JobStatus(job=WarmJob(job_id="j1"), state=JobState.WARMING, scan=ScanTotals(items=2))
    told = set()
    calls = CallCounts()
    calls.add("claim", 0.1, failed=False)
    for family in families(Seen(statuses=[job], workers=[ROW], fleet=FLEET, calls=calls)):
        told |= {sample.name for sample in family.samples}
    asked = set(re.findall(r"cachewarmer_\w+", " ".join(queries())))
    asked |= set(re.findall(r"cachewarmer_\w+", " ".join(re.findall(r"expr: (.*)", RULES.read_text()))))
    assert len(asked) > 15
    assert asked <= told


@asynccontextmanager
async def prometheus_of(tmp_path, scrapes):
    """The address of a Prometheus with our rules and these scrape_configs."""
    need(shutil.which("prometheus") is not None, "needs prometheus")
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": scrapes,
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    started = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        await asyncio.to_thread(stop, started)


@pytest.fixture
async def prometheus(tmp_path):
    """Its address: scrapes a server of the page whose broker has the row of a worker."""
    need(shutil.which("prometheus") is not None, "needs prometheus")
    url = f"sqlite:///{tmp_path}/broker.db"
    broker = open_broker(url, Settings().lease)
    await broker.open()
    await broker.note_worker(ROW)
    await broker.close()
    http = HttpSettings.of("127.0.0.1:0", token=TOKEN)
    async with WebServer(http, open_broker(url, Settings().lease), Settings(), fleet=lambda: FLEET) as server:
        scrape = {
            "job_name": "cachewarmer",
            "authorization": {"credentials": TOKEN},
            "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}],
        }
        async with prometheus_of(tmp_path, [scrape]) as address:
            yield address


async def test_prometheus_loads_the_rules_and_answers_every_panel(prometheus):
    """An address that is silent makes its alert wait for its time; every query of the dashboard is one."""
    async with aiohttp.ClientSession() as session:

        async def ask(path, **parameters):
            async with session.get(f"{prometheus}{path}", params=parameters) as answer:
                return await answer.json()

        async def pending():
            try:
                return [one["labels"]["alertname"] for one in (await ask("/alerts"))["data"]["alerts"]]
            except (aiohttp.ClientError, ValueError):  # it is starting
                return []

        async with asyncio.timeout(30):
            while not await pending():
                await asyncio.sleep(0.1)
        assert await pending() == ["CacheWarmerAddressSilent"]
        groups = (await ask("/rules"))["data"]["groups"]
        assert [one["health"] for one in groups[0]["rules"]] == ["ok"] * 8
        window = await ask("/query", query="cachewarmer_window_calls")
        assert window["data"]["result"][0]["value"][1] == "8"
        for query in queries():
            assert (await ask("/query", query=query))["status"] == "success", query


async def test_prometheus_scrapes_a_manager_and_a_worker(tmp_path):
    """The processes themselves, while they warm a tree: each tells its calls, and both tell of the same worker."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number}").write_bytes(b"x" * 1000)
    url = f"sqlite:///{tmp_path}/broker.db"
    ports = {"manager": free_port(), "worker": free_port()}
    services = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cachewarmer",
                name,
                "--broker",
                url,
                "--metrics",
                f"127.0.0.1:{port}",
                "--name",
                name,
            ],
            stderr=subprocess.DEVNULL,
        )
        for name, port in ports.items()
    ]
    try:
        async with open_broker(url, Settings().lease) as broker:
            await broker.submit(WarmJob(access=Access(transport=Transport.LOCAL), warm_path=str(tree)))
        scrapes = [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for name, port in ports.items()
        ]
        async with prometheus_of(tmp_path, scrapes) as address, aiohttp.ClientSession() as session:

            async def values(query):
                try:
                    async with session.get(f"{address}/query", params={"query": query}) as answer:
                        found = (await answer.json())["data"]["result"]
                except (aiohttp.ClientError, ValueError, KeyError):  # it is starting
                    return {}
                return {one["metric"]["job"]: float(one["value"][1]) for one in found}

            async with asyncio.timeout(60):
                while not (read := await values("sum by (job) (cachewarmer_worker_read_files_total) > 19")).get(
                    "manager"
                ):
                    await asyncio.sleep(0.2)
                while "worker" not in await values('cachewarmer_broker_call_seconds_count{operation="complete"} > 0'):
                    await asyncio.sleep(0.2)
            assert read == {"manager": 20, "worker": 20}
            assert await values('cachewarmer_broker_call_seconds_count{operation="publish"} > 0') != {}
            assert await values("sum by (job) (cachewarmer_broker_call_errors_total)") == {"manager": 0, "worker": 0}
            assert await values("cachewarmer_broker_up") == {"manager": 1, "worker": 1}
            assert await values('cachewarmer_workers{state="at_work"}') == {"manager": 1, "worker": 1}
    finally:
        for one in services:
            await asyncio.to_thread(stop, one)
