"""A manager and its scale set of Spot VMs, from the arrival of a job to the ledger: Azure is a strict stand-in, each VM
is set up by the real cloud-init, and runs a real worker that reads from NFS-Ganesha by way of Azurite's queues.
"""

import base64
import json
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.azure_standin.cloud import azure
from tests.azure_standin.fixtures import KEY, SIZES
from tests.e2e.killing import azure_site, fleet
from tests.servers.ports import NO_IMDS

EXPORT = "127.0.0.1:/bootstrap"
WORKERS = 5
QUOTA = ("OperationNotAllowed", "Operation results in exceeding approved LowPriorityCores quota.")

BOOTSTRAP = """\
#!/bin/sh
# What a site's own script may do: here the worker is this checkout's, and the account is an Azurite.
set -eu
cp "$BOOTSTRAP_PATH/worker.toml" /etc/cachewarmer/worker.toml
. "$BOOTSTRAP_PATH/account"
export AZURE_STORAGE_CONNECTION_STRING CACHEWARMER_CONFIG=/etc/cachewarmer/worker.toml
setsid {python} -m cachewarmer worker --broker "azure://$STORAGE_ACCOUNT/$QUEUE_PREFIX" --name "$(hostname)" \\
  --max-bandwidth 300k >/var/log/worker.log 2>&1 </dev/null &
"""


class Farm:
    """The processes on this machine, and the cloud."""

    def __init__(self, running, cloud):
        self.running, self.cloud = running, cloud
        self.managers = 0
        self.target = ""

    @property
    def log(self):
        """What the managers said."""
        return "".join(path.read_text() for path in sorted(self.running.logs.glob("manager*.log")))

    def start_manager(self, *more):
        self.managers += 1
        folder, script = ["--bootstrap-address", "127.0.0.1", "--bootstrap-export", "/bootstrap"], "/bootstrap.sh"
        options = ["--fleet", "vmss", "--workers", str(WORKERS), *folder, "--bootstrap-script", script]
        self.running.start("manager", f"manager{self.managers}", *options, *more)

    def submit(self, target):
        done = self._say("submit", target, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["job"]

    def report(self, job):
        return json.loads(self._say("status", job, "--json").stdout)

    def cancel(self, job):
        assert self._say("cancel", job).returncode == 0

    def _say(self, *arguments):
        command = [sys.executable, "-m", "cachewarmer", *arguments, "--broker", self.running.broker]
        return subprocess.run(
            command, env=self.running.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def until(self, true, seconds=100):
        """What ``true`` returns once it is something; fails with everything that was said."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, self.log + "".join(
                f"== {vm.name}\n{vm.machine.said()}{worker_log(vm)}" for vm in self.cloud.sets.all_vms if vm.machine
            )
            time.sleep(0.1)
        return found

    def says(self, pattern, seconds=100):
        """The line of a manager's log that matches."""
        return self.until(lambda: re.search(f"^.*{pattern}.*$", self.log, re.MULTILINE), seconds).group(0)


def worker_log(vm):
    log = vm.machine.upper("var/log/worker.log")
    return log.read_text() if log.exists() else ""


@pytest.fixture
def farm(azurite_connection, tmp_path, request):
    """No manager yet. ``boot`` as the parameter puts machines behind the VMs."""
    boot = getattr(request, "param", "") == "boot"
    bootstrap = tmp_path / "bootstrap"
    bootstrap.mkdir()
    (bootstrap / "bootstrap.sh").write_text(BOOTSTRAP.format(python=sys.executable))
    (bootstrap / "account").write_text(f"AZURE_STORAGE_CONNECTION_STRING='{azurite_connection}'\n")
    with (
        azure(boot=boot, environment={"CACHEWARMER_PAUSE_SECONDS": "0.5"}, exports={EXPORT: bootstrap}) as cloud,
        fleet(azure_site(azurite_connection, f"f{secrets.token_hex(4)}"), tmp_path, workers=0) as running,
    ):
        config = Path(running.environment["CACHEWARMER_CONFIG"])
        (bootstrap / "worker.toml").write_text(config.read_text())
        with config.open("a") as more:
            more.write(
                f'[plan]\nitem_files = 5\n[fleet]\nlook_seconds = 0.5\nidle_seconds = 3.0\n[fleet.vmss]\nssh_public_key = "{KEY}"\n'
            )
        running.environment.update(cloud.environment)
        yield Farm(running, cloud)


@pytest.fixture
def tree(nfs_root, nfs_server):
    """The target, with its files and bytes: 300 files of 100,000 bytes in 20 directories."""
    root = nfs_root / secrets.token_hex(8)
    for number in range(300):
        path = root / f"d{number % 20:02d}" / f"frame.{number:04d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
    return nfs_server.target("/" + root.name), 300, 30_000_000


@pytest.mark.timeout(400)
@pytest.mark.parametrize("farm", ["boot"], indirect=True)
def test_a_fleet_comes_with_the_work_survives_evictions_and_goes(farm, tree):
    """Two of its VMs are evicted in mid-read, one with notice and one without; replacements come, the totals are exact,
    the fleet is deleted, and the ledger says what every VM took.
    """
    target, files, size = tree
    farm.start_manager()
    job = farm.submit(target)
    farm.until(lambda: len(farm.cloud.vms) == WORKERS)
    first = list(farm.cloud.vms)
    assert {vm.size for vm in first} == {SIZES[0]}
    reading = farm.until(lambda: [vm for vm in first if "watching for eviction notices" in worker_log(vm)][1:])
    farm.until(lambda: 0 < farm.report(job)["bytes"] < size / 2)

    told, surprised = reading[-1], next(vm for vm in first if vm is not reading[-1])
    farm.cloud.notice_seconds = 10.0
    assert farm.cloud.do(farm.cloud.evict(told)) is True, "it acknowledged the notice before its time was up"
    assert "handing back all work" in worker_log(told)
    farm.cloud.notice_seconds = 0.0
    assert farm.cloud.do(farm.cloud.evict(surprised)) is False
    assert farm.report(job)["state"] == "warming"
    farm.until(lambda: len(farm.cloud.sets.all_vms) == WORKERS + 2)
    assert farm.says("scale out to 5: [12] evicted")

    report = farm.until(lambda: (it := farm.report(job))["state"] == "completed" and it, 120)
    assert (report["files"], report["bytes"], report["failed_files"]) == (files, size, 0)
    farm.until(lambda: not farm.cloud.sets.sets)
    farm.says(r"7 machines took \d+ VM-seconds \(.*\b2 evicted.*\)")
    for vm in farm.cloud.sets.all_vms:
        farm.says(rf"{vm.name}: \d+ s, (evicted|deleted)$")
    assert "Traceback" not in farm.log

    asked = [body["sku"]["capacity"] for method, _, body in farm.cloud.arm.requests if method in ("PUT", "PATCH")]
    assert max(asked) == WORKERS, "never above the limit"

    # No key went to a VM but by the site's own hands.
    (body,) = [body for method, _, body in farm.cloud.arm.requests if method == "PUT"]
    custom = body["properties"]["virtualMachineProfile"]["osProfile"]["customData"]
    everything = base64.b64decode(custom).decode() + json.dumps(body)
    key = farm.running.environment["AZURE_STORAGE_CONNECTION_STRING"].partition("AccountKey=")[2].partition(";")[0]
    values = base64.b64decode(everything.partition("encoding: b64\n    content: ")[2].split()[0]).decode()
    assert key not in everything + values
    assert key not in farm.log


@pytest.mark.timeout(400)
@pytest.mark.parametrize("farm", ["boot"], indirect=True)
def test_a_manager_that_is_killed_is_followed_by_one_that_goes_on(farm, tree):
    """It finds the scale set again, makes no second one, and deletes it when the work is done."""
    target, files, size = tree
    farm.start_manager()
    job = farm.submit(target)
    farm.until(lambda: farm.report(job)["bytes"] > 0)
    farm.running.kill("manager1")
    farm.start_manager()
    report = farm.until(lambda: (it := farm.report(job))["state"] == "completed" and it, 120)
    assert (report["files"], report["bytes"], report["failed_files"]) == (files, size, 0)
    farm.until(lambda: not farm.cloud.sets.sets)
    farm.says(rf"{WORKERS} machines took \d+ VM-seconds \({WORKERS} deleted\)")
    assert [method for method, _, _ in farm.cloud.arm.requests].count("PUT") == 1
    assert "Traceback" not in farm.log


# -- what Azure may do to it; no machines are needed for these ---------------------------------------------------------


def no_room(farm):
    farm.cloud.sets.refused[SIZES[0]] = ("SkuNotAvailable", "The requested size is not available.")


def no_quota(farm):
    farm.cloud.sets.refused = dict.fromkeys(SIZES, QUOTA)


def throttled(farm):
    farm.cloud.arm.throttled = 3


def no_metadata(farm):
    farm.running.environment["CACHEWARMER_IMDS_URL"] = NO_IMDS


def no_role(farm):
    farm.cloud.arm.denied.add("Microsoft.Network/virtualNetworks/subnets/join/action")


SAID = {
    "no room for the first size": (
        no_room,
        rf"WARNING .*creating scale set \S+ of {SIZES[0]}: no room \(SkuNotAvailable\); trying {SIZES[1]} instead",
        True,
    ),
    "no quota for any": (
        no_quota,
        r"create to 5: no room for 5 .* in any VM size of the list \(.*the quota is used up \(OperationNotAllowed\)\): add sizes .*again in 60 s",
        False,
    ),
    "throttling": (throttled, r"Azure Resource Manager has had too many requests: asking again in 1 s", True),
    "a missing role": (
        no_role,
        r"not allowed \(LinkedAuthorizationFailed\): .* lacks the action \S+/subnets/join/action; give it Network Contributor",
        False,
    ),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("befall", "line", "comes"), SAID.values(), ids=SAID)
def test_what_goes_wrong_is_one_line(farm, tree, befall, line, comes):
    """Said by the manager, which goes on; the fleet comes where it can."""
    befall(farm)
    farm.start_manager()
    job = farm.submit(tree[0])
    farm.says(line)
    if comes:
        farm.until(lambda: len(farm.cloud.vms) == WORKERS)
    else:
        farm.until(lambda: farm.report(job)["state"] == "warming")
        assert not farm.cloud.vms
    assert "Traceback" not in farm.log
    farm.cancel(job)


@pytest.mark.timeout(240)
def test_a_manager_that_could_never_start_a_machine_ends_at_its_start(farm):
    """With one line that says what to set: a job would wait for its workers for ever."""
    no_metadata(farm)
    farm.start_manager()
    farm.says(r"unknown where to create the workers: no instance metadata service answers at .*; set .*")
    assert farm.running.running.pop("manager1").wait(60) in (1, 2)
    assert not farm.cloud.vms
    assert "Traceback" not in farm.log


@pytest.mark.timeout(240)
def test_somebody_elses_scale_set_is_left_alone(farm, tree):
    """One of the same name: said in one line, and not touched, whatever work there is."""
    farm.start_manager()
    job = farm.submit(tree[0])
    farm.until(lambda: len(farm.cloud.vms) == WORKERS)
    farm.running.kill("manager1")
    (found,) = farm.cloud.sets.sets.values()
    found.record["tags"] = {"made-by": "somebody"}
    before = len(farm.cloud.arm.requests)
    farm.start_manager()
    farm.says(rf"fleet {found.name} can't be seen: the scale set .* was not made by cachewarmer .* and is left alone")
    farm.cancel(job)
    farm.running.running["manager2"].terminate()
    farm.running.running["manager2"].wait(30)
    assert {method for method, _, _ in farm.cloud.arm.requests[before:]} == {"GET"}
    assert len(farm.cloud.vms) == WORKERS


@pytest.mark.timeout(240)
def test_a_deletion_that_fails_is_tried_again(farm, tree):
    """Until the fleet is gone; each failure is one line."""
    farm.cloud.sets.failing_deletions = 1
    farm.start_manager()
    job = farm.submit(tree[0])
    farm.until(lambda: len(farm.cloud.vms) == WORKERS)
    farm.cancel(job)
    farm.says(r"deleting scale set \S+: Azure is busy or unavailable \(InternalExecutionError\); .*trying again in 5 s")
    farm.until(lambda: not farm.cloud.sets.sets)
    farm.says(rf"{WORKERS} machines took \d+ VM-seconds \({WORKERS} deleted\)")


@pytest.mark.timeout(240)
def test_a_manager_that_stops_without_work_leaves_nothing(farm, tree):
    """SIGTERM before the fleet's time is up: it deletes it and is gone."""
    farm.start_manager()
    job = farm.submit(tree[0])
    farm.until(lambda: len(farm.cloud.vms) == WORKERS)
    farm.cancel(job)
    farm.running.running["manager1"].terminate()
    assert farm.running.running.pop("manager1").wait(60) in (0, 130)
    assert not farm.cloud.sets.sets
