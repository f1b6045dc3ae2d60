"""The three components as an operator starts them, over Azurite and NFS-Ganesha."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from cachewarmer.testing import ModelCache
from tests.e2e.killing import azure_site, fleet

BIN = Path(sys.executable).parent
KEY = "AccountKey="


@pytest.fixture
def running(azurite_connection, tmp_path):
    with fleet(azure_site(azurite_connection, f"c{secrets.token_hex(4)}"), tmp_path, workers=0) as started:
        started.begun = []
        yield started
        for process in started.begun:
            process.kill()
            process.communicate()


@pytest.fixture
def tree(nfs_root):
    """Forty files of 100,000 bytes in four directories."""
    root = nfs_root / secrets.token_hex(8)
    for number in range(40):
        path = root / f"d{number % 4}" / f"frame.{number:04d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
    return root


def say(running, *arguments, timeout=100):
    return subprocess.run(
        [sys.executable, "-m", "cachewarmer", *arguments, "--broker", running.broker],
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def begin(running, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer", *arguments, "--broker", running.broker],
        env=running.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running.begun.append(process)
    return process


def report_of(running, job):
    return json.loads(say(running, "status", job, "--json").stdout)


def all_jobs(running):
    """What `status` lists; nothing as long as neither a manager nor a submitter has made the queues."""
    done = say(running, "status", "--json")
    return json.loads(done.stdout)["jobs"] if done.stdout else []


def wait_for(running, job, wanted, seconds=60):
    """The report of a job once it is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        report = report_of(running, job)
        if wanted(report):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.2)


def storage_flags(running):
    account, prefix = running.broker.removeprefix("azure://").split("/")
    return [f"-storageAccountName={account}", "-queueNamePrefix", prefix, "-storageAccountResourceGroup="]


def queue(running, kind):
    prefix = running.broker.rpartition("/")[2]
    return QueueClient.from_connection_string(running.environment["AZURE_STORAGE_CONNECTION_STRING"], prefix + kind)


def logs(running):
    return "".join(f"== {log.name}\n{log.read_text()}" for log in running.logs.glob("*.log"))


def test_the_first_cachewarmers_commands_block_until_warm(running, nfs_server, nfs_root, tree):
    """Its three commands with its flags: the submitter ends with 0 when its own job is warm, and no output holds a key.

    A link is read through where it leads to a file of the export. A job of ours leaves it alone, unless it is told not to.
    Its messages know no ports, so that those of this server, which the portmapper need not know, are in the settings.
    """
    with Path(running.environment["CACHEWARMER_CONFIG"]).open("a") as config:
        config.write(f"port = {nfs_server.nfs_port}\nmount_port = {nfs_server.mount_port}\n")
    (nfs_root / f"{tree.name}.shared").write_bytes(bytes(50_000))
    (tree / "d0/link.0050").symlink_to(f"../../{tree.name}.shared")
    (tree / "d0/link.0051").symlink_to("/etc/hostname")
    (tree / "d0/link.0001").symlink_to("frame.0004")
    running.launch("manager1", [str(BIN / "cachewarmer-manager"), *storage_flags(running), "-workerCount=0"])
    running.launch("worker1", [str(BIN / "cachewarmer-worker"), "-enableDebugging", *storage_flags(running)])
    started = time.monotonic()
    done = subprocess.run(
        [
            str(BIN / "cachewarmer-jobsubmitter"),
            *storage_flags(running),
            *("-warmTargetMountAddresses", "127.0.0.1", "-warmTargetExportPath", nfs_server.export),
            *("-warmTargetPath", f"/{tree.name}", "-inclusionCsv", "*.00*", "-exclusionCsv=*.0001,*.0002"),
            *("-maxFileSizeBytes", "1000000", "-blockUntilWarm=true"),
        ],
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr + logs(running)
    job = done.stdout.split()[0]
    report = report_of(running, job)
    assert (report["state"], report["files"], report["bytes"]) == ("completed", 39, 3_850_000)
    assert (report["excluded_files"], report["links"], report["skipped_files"]) == (3, 3, 1)
    for options, files in (((), 40), (("--follow-links",), 41)):
        done = say(running, "submit", nfs_server.target(f"/{tree.name}"), "--wait", "--json", *options)
        report = json.loads(done.stdout)
        assert (report["files"], report["links"], report["skipped_files"]) == (files, 3, 3 if files == 40 else 1), done
        assert any("symbolic links not followed" in one for one in report["warnings"]) is (files == 40)
    assert time.monotonic() - started < 90
    key = running.environment["AZURE_STORAGE_CONNECTION_STRING"].partition(KEY)[2].partition(";")[0]
    assert key not in done.stdout + done.stderr + logs(running)
    for process in running.running.values():
        assert key.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("encode", [str, lambda text: base64.b64encode(text.encode()).decode()])
def test_a_message_put_on_the_queue_by_hand_is_warmed(running, nfs_server, tree, encode):
    """Plain or base64; what comes before it and is no job goes to poison with its reason, and the manager goes on."""
    running.start("manager", "manager1")
    running.start("worker", "worker1")
    jobs, poison = queue(running, "job"), queue(running, "poison")
    wait_until(lambda: exists(jobs), logs, running)
    jobs.send_message("not a job")
    jobs.send_message(
        encode(
            json.dumps(
                {
                    "WarmTargetMountAddresses": ["127.0.0.1"],
                    "WarmTargetExportPath": nfs_server.export,
                    "WarmTargetPath": f"/{tree.name}",
                    "InclusionList": [],
                    "ExclusionList": [],
                    "MaxFileSizeBytes": 0,
                    "NfsPort": nfs_server.nfs_port,
                    "MountPort": nfs_server.mount_port,
                }
            )
        )
    )
    found = []
    wait_until(lambda: found.extend(all_jobs(running)) or found, logs, running)
    report = wait_for(running, found[0]["job"], lambda report: report["state"] == "completed")
    assert (report["files"], report["bytes"]) == (40, 4_000_000)
    (refused,) = poison.peek_messages(5)
    said = json.loads(refused.content)
    assert "not a job" in json.dumps(said)
    assert "JSON" in said["Reason"]


def exists(client):
    try:
        client.get_queue_properties()
    except Exception:
        return False
    return True


def wait_until(true, explain, *about, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, explain(*about)
        time.sleep(0.1)


def test_two_jobs_each_block_until_they_are_done(running, nfs_server, nfs_root, tree):
    """A slow job and a quick one at once: the quick one's submitter does not wait for the slow one's."""
    running.start("manager", "manager1")
    running.start("worker", "worker1")
    target = nfs_server.target("/" + tree.name)
    slow = begin(running, "submit", target, "--max-bandwidth", "400k", "--wait", "--json")
    quick = say(running, "submit", target, "--wait", "--json")
    assert quick.returncode == 0, quick.stderr + logs(running)
    assert json.loads(quick.stdout)["bytes"] == 4_000_000
    assert slow.poll() is None, "4 MB at 400 kB/s take ten seconds"
    out, err = slow.communicate(timeout=90)
    assert slow.returncode == 0, err
    assert json.loads(out)["bytes"] == 4_000_000


@contextlib.contextmanager
def modelled_cache(port):
    """A model of a cache, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    cache = ModelCache("127.0.0.1", port)
    asyncio.run_coroutine_threadsafe(cache.__aenter__(), loop).result(30)
    try:
        yield cache
    finally:
        asyncio.run_coroutine_threadsafe(cache.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def test_who_waits_for_a_job_may_verify_it_too(running, nfs_server, tree):
    """``submit --wait --verify``, and the first CacheWarmer's submitter with ``-verify``, which waits by that alone."""
    with modelled_cache(nfs_server.nfs_port) as cache:
        with Path(running.environment["CACHEWARMER_CONFIG"]).open("a") as config:
            config.write(f"port = {cache.port}\nmount_port = {nfs_server.mount_port}\n")
        running.start("manager", "manager1")
        running.start("worker", "worker1")
        target = nfs_server.target("/" + tree.name, nfsport=cache.port)
        done = say(running, "submit", target, "--wait", "--verify", "--expect", "0.5", "--json")
        assert done.returncode == 0, done.stderr + logs(running)
        verified = json.loads(done.stdout)["verify"]
        assert (verified["files"], verified["method"], verified["met"]) == (40, "reads", True)
        assert verified["warm_fraction"] >= 0.8
        assert not say(running, "submit", target, "--verify").stdout, "there is nothing to verify before its end"
        cache.forget()
        done = subprocess.run(
            [
                *(str(BIN / "cachewarmer-jobsubmitter"), *storage_flags(running), "-verify"),
                *("-warmTargetMountAddresses", "127.0.0.1", "-warmTargetExportPath", nfs_server.export),
                *("-warmTargetPath", f"/{tree.name}"),
            ],
            env=running.environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr + logs(running)
        assert report_of(running, done.stdout.split()[0])["state"] == "completed"
        (line,) = (one for one in done.stdout.splitlines() if one.strip().startswith("data: "))
        assert float(line.split()[1]) >= 80, line


def test_a_cancelled_job_stops_reading_within_5_s_and_others_go_on(running, nfs_server, tree):
    """Its submitter ends with 4, its count stands still, and a job beside it ends warm."""
    running.start("manager", "manager1")
    running.start("worker", "worker1")
    target = nfs_server.target("/" + tree.name)
    slow = begin(running, "submit", target, "--max-bandwidth", "50k", "--wait", "--name", "slow", "--json")
    other = begin(running, "submit", target, "--max-bandwidth", "300k", "--wait", "--json")
    job = []

    def reading():
        job[:] = [one["job"] for one in all_jobs(running) if one["name"] == "slow"]
        return job and report_of(running, job[0])["state"] == "warming"

    wait_until(reading, logs, running)
    cancelled = say(running, "cancel", job[0])
    began = time.monotonic()
    assert cancelled.returncode == 0, cancelled.stderr
    out, err = slow.communicate(timeout=60)
    assert slow.returncode == 4, err
    assert json.loads(out)["state"] == "cancelled"
    time.sleep(max(0.0, 5 - (time.monotonic() - began)))
    read = report_of(running, job[0])["bytes"]
    assert other.wait(90) == 0, logs(running)
    assert report_of(running, job[0])["bytes"] == read < 4_000_000


def test_a_job_is_paused_and_resumed_from_another_process_within_5_s(running, nfs_server, tree):
    """Its count stands still 5 s after the one, moves again 5 s after the other, and is exact in the end."""
    with Path(running.environment["CACHEWARMER_CONFIG"]).open("a") as config:
        config.write("[plan]\nitem_files = 1\n")
    running.start("manager", "manager1")
    running.start("worker", "worker1")
    waiting = begin(
        running, "submit", nfs_server.target("/" + tree.name), "--max-bandwidth", "200k", "--wait", "--json"
    )
    wait_until(lambda: all_jobs(running), logs, running)
    job = all_jobs(running)[0]["job"]
    wait_for(running, job, lambda report: report["bytes"])
    assert say(running, "pause", job).returncode == 0
    time.sleep(5)
    rested = report_of(running, job)
    time.sleep(2)
    assert (rested["state"], report_of(running, job)["bytes"]) == ("paused", rested["bytes"])
    assert 0 < rested["bytes"] < 4_000_000
    assert say(running, "resume", job).returncode == 0
    wait_for(running, job, lambda report: report["bytes"] > rested["bytes"], seconds=5)
    out, err = waiting.communicate(timeout=90)
    assert waiting.returncode == 0, err + logs(running)
    assert (json.loads(out)["files"], json.loads(out)["bytes"]) == (40, 4_000_000)


@pytest.mark.timeout(200)
def test_files_that_may_not_be_read_fail_by_name_and_the_submitter_ends_with_3(running, nfs_server, nfs_root, tree):
    """A directory of nothing else: it is read once, and no message goes to poison."""
    locked = tree / "locked"
    locked.mkdir()
    (locked / "secret.exr").write_bytes(bytes(10))
    (locked / "secret.exr").chmod(0)
    running.start("manager", "manager1")
    running.start("worker", "worker1")
    done = say(
        running,
        "submit",
        nfs_server.target(f"/{tree.name}/locked", uid=4711, gid=4711),
        "--wait",
        "--json",
        timeout=150,
    )
    assert done.returncode == 3, done.stderr + logs(running)
    report = json.loads(done.stdout)
    assert (report["state"], report["failed_files"], report["files"]) == ("completed_with_errors", 1, 0)
    assert "secret.exr" in json.dumps(report["errors"])
    assert "NFS3ERR_ACCES" in json.dumps(report["errors"])
    assert list(queue(running, "poison").peek_messages(5)) == []


def test_a_worker_that_is_told_to_stop_hands_back_what_it_holds(running, nfs_server, tree):
    """SIGTERM in mid-read: it is gone within 20 s, without an error, and another worker finishes with exact totals."""
    running.start("manager", "manager1")
    running.start("worker", "worker1", "--max-bandwidth", "20k")
    waiting = begin(running, "submit", nfs_server.target("/" + tree.name), "--wait", "--json")
    wait_until(lambda: all_jobs(running), logs, running)
    job = all_jobs(running)[0]["job"]
    wait_for(running, job, lambda report: report["state"] == "warming")
    first = running.running.pop("worker1")
    time.sleep(1)
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) in (0, 130), logs(running)
    assert time.monotonic() - began < 20
    running.start("worker", "worker2")
    out, err = waiting.communicate(timeout=90)
    assert waiting.returncode == 0, err + logs(running)
    report = json.loads(out)
    assert (report["files"], report["bytes"], report["failed_files"]) == (40, 4_000_000, 0)


def test_two_managers_share_the_jobs(running, nfs_server, tree):
    """Each job is scanned by one of them, and counted once."""
    for number in (1, 2):
        running.start("manager", f"manager{number}")
    running.start("worker", "worker1", "--exit-when-idle", "5")
    jobs = [begin(running, "submit", nfs_server.target("/" + tree.name), "--wait", "--json") for _ in range(4)]
    for job in jobs:
        out, err = job.communicate(timeout=90)
        assert job.returncode == 0, err + logs(running)
        assert (json.loads(out)["files"], json.loads(out)["bytes"]) == (40, 4_000_000)
    assert running.running.pop("worker1").wait(60) == 0, "it leaves when there is nothing more to do"


def test_a_prefix_that_azure_does_not_take_is_refused_with_the_rule(azurite_connection):
    """Before anything is asked of the service."""
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "status", "--broker", "azure://account/No_Prefix"],
        env=os.environ | {"AZURE_STORAGE_CONNECTION_STRING": azurite_connection},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "lower-case" in done.stderr
