"""The alert rules and the dashboard of deploy/monitoring, in a real Prometheus that scrapes a real page's server."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.fleet.base import FleetSize
from cachewarmer.model import AddressReport, InHand, JobState, JobStatus, ScanTotals, WarmJob, WorkerReport
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
    for family in families(Seen(statuses=[job], workers=[ROW], fleet=FLEET)):
        told |= {sample.name for sample in family.samples}
    asked = set(re.findall(r"cachewarmer_\w+", " ".join(queries())))
    asked |= set(re.findall(r"cachewarmer_\w+", " ".join(re.findall(r"expr: (.*)", RULES.read_text()))))
    assert len(asked) > 15
    assert asked <= told


@pytest.fixture
async def prometheus(tmp_path):
    """(its address, the broker's): scrapes a server of the page whose broker has the row of a worker."""
    need(shutil.which("prometheus") is not None, "needs prometheus")
    url = f"sqlite:///{tmp_path}/broker.db"
    broker = open_broker(url, Settings().lease)
    await broker.open()
    await broker.note_worker(ROW)
    await broker.close()
    http = HttpSettings.of("127.0.0.1:0", token=TOKEN)
    async with WebServer(http, open_broker(url, Settings().lease), Settings(), fleet=lambda: FLEET) as server:
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "cachewarmer",
                    "authorization": {"credentials": TOKEN},
                    "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}],
                }
            ],
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
        assert [one["health"] for one in groups[0]["rules"]] == ["ok"] * 6
        window = await ask("/query", query="cachewarmer_window_calls")
        assert window["data"]["result"][0]["value"][1] == "8"
        for query in queries():
            assert (await ask("/query", query=query))["status"] == "success", query
