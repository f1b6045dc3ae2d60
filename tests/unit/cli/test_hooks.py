"""What is told of a job's end: to a command, and to a web server."""

import argparse
import asyncio
import base64
import json
import logging
import os
import select
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cachewarmer.cli import commands, hooks, telling
from cachewarmer.cli.hooks import Hooks
from cachewarmer.errors import UsageError
from cachewarmer.model import Access, JobState, JobStatus, ScanTotals, WarmJob

JOB = WarmJob(job_id="j7", access=Access(addresses=("cache1",)), warm_path="/p")


def status(state=JobState.COMPLETED_WITH_ERRORS, files=2):
    return JobStatus(job=JOB, state=state, scan=ScanTotals(files=files, bytes=30, finished=True))


class Receiver:
    """A web server that answers with the statuses it is given, then with 204."""

    def __init__(self):
        self.answers, self.got = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 204)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def test_a_command_gets_the_report_and_the_environment(tmp_path):
    """Without a shell: what a shell would expand stays as it is."""
    script = tmp_path / "hook.py"
    script.write_text(
        "import json, os, sys\n"
        "got = {k: v for k, v in os.environ.items() if k.startswith('CACHEWARMER_')}\n"
        "json.dump([sys.argv[2:], got, json.load(sys.stdin)], open(sys.argv[1], 'w'))\n"
    )
    words = hooks.words_of_command(f"{sys.executable} {script} {tmp_path}/out '$HOME *'")
    asyncio.run(Hooks(command=words).tell(status()))
    arguments, environment, report = json.loads((tmp_path / "out").read_text())
    assert arguments == ["$HOME *"]
    assert environment["CACHEWARMER_JOB"] == "j7"
    assert environment["CACHEWARMER_STATE"] == "completed_with_errors"
    assert environment["CACHEWARMER_EXIT_CODE"] == "3"
    assert report["job"] == "j7"
    assert report["scanned_files"] == 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/no/such/command",), "No such file"),
        (("sh", "-c", "exit 5"), "exit code 5"),
        (("sh", "-c", "kill -9 $$"), "signal 9"),
    ],
)
def test_a_command_that_fails_is_one_warning(command, said, caplog):
    """And no error, whatever it ended with."""
    with caplog.at_level(logging.WARNING):
        asyncio.run(Hooks(command=command).tell(status()))
    assert len(caplog.records) == 1
    assert said in caplog.text


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path):
    """The pipe that the command and its child hold open is at its end only when both are gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            telling.run_command(("sh", "-c", f"exec >{pipe}; sleep 1000 & wait"), b"", {}, seconds=0.5)
        assert select.select([reader], [], [], 20)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize("state", [JobState.WARMING, JobState.PAUSED, JobState.QUEUED])
def test_nothing_is_told_of_a_job_that_goes_on(state, receiver):
    """It may still end otherwise."""
    asyncio.run(Hooks(webhook=f"http://{receiver.address}/").tell(status(state)))
    assert receiver.got == []


def test_a_webhook_gets_the_report(receiver):
    """With the login of the URL as basic authentication."""
    asyncio.run(Hooks(webhook=f"http://me:p%40ss@{receiver.address}/a?b=c").tell(status()))
    [(path, headers, body)] = receiver.got
    assert path == "/a?b=c"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert json.loads(body)["job"] == "j7"


def test_a_webhook_is_tried_again_where_that_may_help(receiver):
    """Three times in all."""
    receiver.answers = [503, 429]
    waits = []
    telling.post(f"http://{receiver.address}/", b"{}", waits.append)
    assert len(receiver.got) == 3
    assert waits == list(telling.WAITS)


@pytest.mark.parametrize("answer", [301, 302, 307, 308, 400, 401, 404])
def test_a_webhook_that_refuses_is_one_warning_without_secrets(answer, receiver, caplog):
    """No redirect is followed, and nothing is asked twice."""
    receiver.answers = [answer]
    with caplog.at_level(logging.WARNING):
        asyncio.run(Hooks(webhook=f"http://me:hunter2@{receiver.address}/t0ken").tell(status()))
    assert len(receiver.got) == 1
    assert len(caplog.records) == 1
    assert f"{receiver.address}: the server answered {answer}" in caplog.text
    assert "hunter2" not in caplog.text
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize("text", ["", "ftp://a/b", "http://", "/a", "http://a:99999/", "http://a/\nb", "http://a/b c"])
def test_what_is_no_webhook_is_refused(text):
    """On the command line, before there is a job."""
    with pytest.raises(argparse.ArgumentTypeError, match="not a URL"):
        hooks.webhook_url(text)


@pytest.mark.parametrize("text", ["", "  ", "a 'b", "''"])
def test_what_is_no_command_is_refused(text):
    """The same."""
    with pytest.raises(argparse.ArgumentTypeError):
        hooks.words_of_command(text)


@pytest.mark.parametrize("option", [["--on-end", "true"], ["--webhook", "http://a/"]])
def test_submit_has_to_wait_for_the_end(option):
    """Else nobody would be told."""
    chosen = commands.build_parser(["submit"]).parse_args(["submit", "/a", *option])
    with pytest.raises(UsageError, match=f"{option[0]} needs --wait"):
        chosen.command.parse(chosen)
