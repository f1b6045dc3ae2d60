"""What a manager tells of its jobs' ends, by ``--on-end`` and ``--webhook``: real processes, and a web server of the test."""

import json
import os
import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.ports import stop

PROGRAM = [sys.executable, "-m", "cachewarmer"]
HASTY = (
    "import sys; from cachewarmer.cli import telling as told; from cachewarmer.cli.main import main; "
    "told.COMMAND_SECONDS, told.POST_SECONDS, told.WAITS = 1.5, 0.5, (0.1, 0.1); sys.exit(main())"
)
"""The program, with little patience for a command or a web server."""
HOOK = """
import json, os, sys, time
report = json.load(sys.stdin)
told = {name: os.environ[name] for name in ("CACHEWARMER_JOB", "CACHEWARMER_STATE", "CACHEWARMER_EXIT_CODE")}
with open(sys.argv[1], "a") as out:
    out.write(json.dumps([sys.argv[2:], told, report]) + "\\n")
if "hang" in report["name"]:
    time.sleep(1000)
sys.exit(7 if "fail" in report["name"] else 0)
"""
MARK = "made-by-a-shell"
SHELLY = f"$(touch {MARK}) `touch {MARK}`; touch {MARK} | touch {MARK} && touch {MARK} ' \" \\ * ~ \u202e <b>"


class Receiver(ThreadingHTTPServer):
    """Takes reports; one of a job whose name has ``500`` or ``silent`` in it is answered so."""

    daemon_threads = True

    def __init__(self):
        self.got = []
        self.ending = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self):
        return f"http://me:hunter2@127.0.0.1:{self.server_port}/s3cret"

    def reports_of(self, name):
        return [one for one in self.got if one["name"] == name]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append(report)
        if "silent" in report["name"]:
            self.server.ending.wait(60)
        self.send_response(500 if "500" in report["name"] else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def told(nfs_server, nfs_root, tmp_path):
    """Submits a job of each name to a manager with both hooks and a worker; gives what the command and the server got,
    the manager's warnings, and the exit codes of ``submit --wait``."""
    root = nfs_root / secrets.token_hex(8)
    root.mkdir()
    for number in range(5):
        (root / str(number)).write_bytes(b"x" * 1000)
    (tmp_path / "hook.py").write_text(HOOK)
    environment = {**os.environ, "CACHEWARMER_BROKER": f"sqlite:///{tmp_path}/broker.db"}

    def run(names):
        with receiving() as server, (tmp_path / "log").open("wb") as log:
            hook = f"{sys.executable} {tmp_path}/hook.py {tmp_path}/out '$HOME; touch {MARK}'"
            options = ["--on-end", hook, "--webhook", server.url, "--exit-when-idle", "1"]
            here = {"cwd": tmp_path, "env": environment}
            worker = subprocess.Popen([*PROGRAM, "worker"], **here, stderr=subprocess.DEVNULL)
            waiting = [
                subprocess.Popen(
                    [*PROGRAM, "submit", nfs_server.target(root.name), "--wait", "--name", name, "-q"], **here
                )
                for name in names
            ]
            manager = subprocess.Popen([sys.executable, "-c", HASTY, "manager", *options], **here, stderr=log)
            try:
                codes = [one.wait(60) for one in waiting]
                assert manager.wait(60) == 0
            finally:
                for one in (worker, manager, *waiting):
                    stop(one)
            run_by = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
            warnings = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("WARNING")]
            assert not (tmp_path / MARK).exists(), "a shell has run"
            return codes, run_by, server, warnings

    return run


def test_a_manager_runs_the_command_and_posts_the_report(told):
    """Once for each job, with the same report; and a name full of a shell's characters is only a text."""
    codes, run_by, server, warnings = told(["plain", SHELLY])
    assert codes == [0, 0]
    assert warnings == []
    assert len(run_by) == len(server.got) == 2
    names = set()
    for arguments, environment, report in run_by:
        assert arguments == [f"$HOME; touch {MARK}"]
        assert environment == {
            "CACHEWARMER_JOB": report["job"],
            "CACHEWARMER_STATE": "completed",
            "CACHEWARMER_EXIT_CODE": "0",
        }
        assert (report["files"], report["bytes"]) == (5, 5000)
        assert server.reports_of(report["name"]) == [report]
        names.add(report["name"])
    assert names == {"plain", SHELLY}


def test_hooks_that_fail_or_hang_do_no_harm_and_are_said_once(told):
    """A command that fails or hangs, a server that refuses or never answers: one warning each, and the jobs are well."""
    codes, run_by, server, warnings = told(["fail", "hang", "500", "silent"])
    assert codes == [0, 0, 0, 0]
    assert len(run_by) == 4
    ids = {report["name"]: report["job"] for _, _, report in run_by}
    said = {name: [line for line in warnings if job in line] for name, job in ids.items()}
    assert {name: len(lines) for name, lines in said.items()} == {"fail": 1, "hang": 1, "500": 1, "silent": 1}
    assert said["fail"][0].endswith(": exit code 7")
    assert said["hang"][0].endswith(": not finished after 1.5 s: killed")
    assert said["500"][0].endswith(": the server answered 500")
    assert said["silent"][0].endswith(": no answer in time")
    assert {name: len(server.reports_of(name)) for name in ids} == {"fail": 1, "hang": 1, "500": 3, "silent": 3}
    assert not any(secret in line for line in warnings for secret in ("hunter2", "s3cret"))
