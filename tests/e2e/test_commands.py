"""The command as a user runs it: stdout, stderr and exit code."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time

import pytest

from cachewarmer.testing import ScriptedServer
from tests.servers.ports import REPOSITORY, free_port


def run(*arguments, stdin=b"", **more):
    return subprocess.run(
        [sys.executable, "-m", "cachewarmer", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        **more,
    )


@pytest.fixture
def exported(nfs_root):
    root = nfs_root / secrets.token_hex(8)
    (root / "sub").mkdir(parents=True)
    for number in range(50):
        (root / "sub" / f"f{number}").write_bytes(b"x" * number * 100)
    (root / "large").write_bytes(b"y" * 5_000_000)
    return root


FILES, BYTES = 51, sum(n * 100 for n in range(50)) + 5_000_000


def target_of(server, root):
    return server.target("/" + root.name)


def test_warm_over_nfs_reports_exact_totals(nfs_server, exported):
    done = run("warm", target_of(nfs_server, exported), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["bytes"], report["state"]) == (FILES, BYTES, "completed")
    for (
        key
    ) in "job directories failed_files vanished_files excluded_files skipped_files seconds errors workers".split():
        assert key in report


def test_names_that_are_no_text_are_warmed_and_shown_escaped(nfs_server, exported):
    for name in (b"new\nline", "emoji🎬".encode(), b"\xff\xfe raw", b"esc\x1b[31m"):
        with open(os.path.join(os.fsencode(exported), name), "wb") as file:
            file.write(b"12345")
    done = run("warm", target_of(nfs_server, exported))
    assert done.returncode == 0, done.stderr
    assert b"\x1b[31m" not in done.stdout
    report = json.loads(run("warm", target_of(nfs_server, exported), "--json").stdout)
    assert report["files"] == FILES + 4


def test_a_file_an_empty_directory_and_several_targets(nfs_server, exported):
    (exported / "empty").mkdir()
    name = exported.name
    one = run("warm", nfs_server.target(f"/{name}/large"), "--json")
    assert json.loads(one.stdout)["bytes"] == 5_000_000
    empty = run("warm", nfs_server.target(f"/{name}/empty"), "--json")
    assert (empty.returncode, json.loads(empty.stdout)["files"]) == (0, 0)
    both = run("warm", nfs_server.target(f"/{name}/large"), nfs_server.target(f"/{name}/sub"), "--json")
    assert json.loads(both.stdout)["files"] == FILES
    assert len(json.loads(both.stdout)["jobs"]) == 2


def test_filters_and_lists(nfs_server, exported):
    target = target_of(nfs_server, exported)
    filtered = json.loads(run("warm", target, "--include", "f1*", "--max-file-size", "1k", "--json").stdout)
    assert (filtered["files"], filtered["excluded_files"]) == (2, FILES - 2) or filtered["files"] == 3
    listed = run("warm", target, "--files-from", "-", "--json", stdin=b"sub/f3\nlarge\nnot-there\n")
    assert listed.returncode == 3
    assert json.loads(listed.stdout)["files"] == 2


def test_scan_counts(nfs_server, exported):
    done = run("scan", target_of(nfs_server, exported), "--json")
    found = json.loads(done.stdout)
    assert (found["files"], found["bytes"]) == (FILES, BYTES)
    assert found["largest_files"][0]["bytes"] == 5_000_000


def test_an_unreadable_file_is_counted_and_the_exit_code_says_so(nfs_server, exported):
    (exported / "locked").write_bytes(b"secret")
    (exported / "locked").chmod(0)
    done = run("warm", target_of(nfs_server, exported) + "&uid=12345&gid=12345", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 3, report
    assert (report["files"], report["failed_files"]) == (FILES, 1)
    assert report["errors"][0]["path"].endswith("/locked")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["warm"], 2, "TARGET"),
        (["warm", "ftp://x/y"], 2, "nfs://"),
        (["warm", "nfs://127.0.0.1/x?nfsport=1&mountport=1"], 1, "127.0.0.1"),
        (["warm", "nfs://no-such-host.invalid/x"], 1, "no-such-host.invalid"),
        (["warm", "/no/such/directory"], 1, "/no/such/directory"),
        (["warm", "/tmp", "--include", "["], 2, "["),
        (["status", "nojob"], 1, "no job was ever submitted"),
        (["status", "--broker", "redis://x"], 2, "redis"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, code, says):
    done = run(*arguments)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == code, text
    assert says in text
    assert "Traceback" not in text


def test_no_such_export_names_those_there_are(nfs_server):
    wrong = nfs_server.target().replace(nfs_server.export, "/not/exported", 1)
    done = run("warm", wrong)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 1
    assert nfs_server.export in text


def test_a_path_that_is_not_there(nfs_server):
    done = run("warm", nfs_server.target("/nowhere/at/all"))
    assert done.returncode == 1
    assert b"nowhere" in done.stdout + done.stderr


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "cachewarmer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # nohup may have started the tests
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
    )


def wait_until_a_job_goes_on():
    """However long the machine takes to start the command that runs it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        said = run("status", "--json")
        if any(job["state"] in ("scanning", "warming") for job in json.loads(said.stdout or b'{"jobs": []}')["jobs"]):
            return
        time.sleep(0.1)
    pytest.fail("no job was begun")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_the_report_so_far_and_resume_goes_on(nfs_server, exported, number):
    child = start("warm", target_of(nfs_server, exported), "--json", "--max-bandwidth", "500k")
    wait_until_a_job_goes_on()
    child.send_signal(number)
    output, errors = child.communicate(timeout=10)
    assert child.returncode == 130, errors
    report = json.loads(output)
    assert report["state"] in ("scanning", "warming")
    done = run("warm", "--resume", report["job"], "--json")
    assert done.returncode == 0, done.stderr
    resumed = json.loads(done.stdout)
    assert (resumed["job"], resumed["files"], resumed["bytes"]) == (report["job"], FILES, BYTES)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_warm_is_resumed_without_waiting_for_its_leases(nfs_server, exported, processes):
    child = start(
        "warm", target_of(nfs_server, exported), "--processes", processes, "--max-bandwidth", "500k", "--json"
    )
    wait_until_a_job_goes_on()
    child.kill()
    child.communicate()
    began = time.monotonic()
    done = run("warm", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["bytes"]) == (FILES, BYTES)
    assert time.monotonic() - began < 50


def test_status_lists_jobs_and_a_finished_one_can_not_be_cancelled(nfs_server, exported):
    job = json.loads(run("warm", target_of(nfs_server, exported), "--json").stdout)["job"]
    assert job.encode() in run("status").stdout
    assert json.loads(run("status", job, "--json").stdout)["state"] == "completed"
    cancelled = run("cancel", job)
    assert cancelled.returncode == 1
    assert b"completed" in cancelled.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom cachewarmer.cli.commands import build_parser\nbuild_parser().format_help()\n"
        "print([one for one in ('asyncio', 'rich', 'azure', 'aiohttp', 'sqlite3', 'uvloop') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version():
    assert run("--version").stdout.startswith(b"cachewarmer 0.")


def test_auto_says_how_both_transports_failed():
    """Nothing listens there: one line with what the direct reader and the kernel mount met."""
    port = free_port()
    done = run("warm", f"nfs://127.0.0.1/data?nfsport={port}&mountport={port}", "--transport", "auto")
    assert done.returncode == 1
    assert b"direct reader:" in done.stderr
    assert b"kernel mount:" in done.stderr


def test_a_report_on_a_terminal_names_the_slowest_and_the_failed(nfs_server, exported):
    """Totals, rates, histogram, slowest and failed paths, in less than a screen."""
    (exported / "secret").write_bytes(b"x")
    (exported / "secret").chmod(0)
    done = run("warm", nfs_server.target("/" + exported.name, uid=4711, gid=4711))
    assert done.returncode == 3
    said = done.stdout.decode()
    slowest = said.partition("slowest:\n")[2].partition("could not be warmed:")[0].splitlines()
    assert len([line for line in slowest if exported.name in line]) == 5, "which, is for the machine to say"
    assert "secret" in said.partition("could not be warmed:")[2]
    assert said.count("\n") <= 40


def test_all_jobs_can_be_watched(nfs_server, exported):
    """Without a job it shows all of them, and ends when none is going on."""
    job = json.loads(run("warm", target_of(nfs_server, exported), "--json").stdout)["job"]
    done = run("status", "--watch")
    assert done.returncode == 0
    assert job.encode() in done.stdout
    assert run("status", "--watch", "--json").stdout == b"", "of jobs that were over before there is no event"
    lines = [json.loads(line) for line in run("status", job[:8], "--watch", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["state", "end"]
    assert (lines[1]["report"]["files"], lines[1]["report"]["bytes"]) == (FILES, BYTES)


def test_what_happens_is_told_to_programs(nfs_server, exported, tmp_path):
    """Line by line while the job goes on, on stdout or into a file; the end has the whole report."""
    told = run("warm", target_of(nfs_server, exported), "--events", "-", "--max-bandwidth", "5M")
    assert told.returncode == 0, told.stderr
    run("warm", target_of(nfs_server, exported), "--events", tmp_path / "events", "--json")
    for text in (told.stdout.decode(), (tmp_path / "events").read_text()):
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["version"] for line in lines} == {1}
        assert len({line["job"] for line in lines}) == 1
        assert [line["event"] for line in lines].count("end") == 1
        assert (lines[-1]["event"], lines[-1]["report"]["bytes"]) == ("end", BYTES)


@pytest.mark.parametrize("command", ["warm", "scan", "submit"])
def test_an_interrupt_while_the_list_of_files_is_awaited_ends_at_once(command, tmp_path):
    """Nobody writes to the pipe, and reading it can't be called off: the program ends all the same."""
    child = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer", command, str(tmp_path), "--files-from", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdin.write(b"not there\n" * 20_000)  # more than a pipe takes: when this is through, the list is being read
    child.stdin.flush()
    child.send_signal(signal.SIGINT)
    child.wait(20)  # nobody closes the pipe: what waits for it would wait for ever
    said = child.communicate()[1]
    assert child.returncode == 130, said
    assert b"Traceback" not in said


def test_a_name_that_is_not_known_is_told_once():
    """One line, without a second way that could not work either."""
    done = run("warm", "no-such-host.invalid:/x")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"cachewarmer: no-such-host.invalid:/x: no such host")


def test_a_file_that_may_not_be_read_is_in_the_report_and_not_on_stderr(nfs_server, exported):
    """However often it is tried, the user reads of it once."""
    (exported / "alone").mkdir()
    (exported / "alone" / "locked").write_bytes(b"secret")
    (exported / "alone" / "locked").chmod(0)
    done = run("warm", nfs_server.target(f"/{exported.name}/alone", uid=12345, gid=12345))
    assert done.returncode == 3
    assert done.stderr == b""
    assert done.stdout.count(b"/locked") == 1


def test_the_demonstration_needs_no_test_tool(nfs_server):
    """``make warm`` without TARGET runs where only what the command needs is installed."""
    program = "import sys; sys.modules['pytest'] = None; from scripts.demo import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert b"nfs://" in done.stdout
    assert b"2,020 files" in done.stdout


# -- exit codes, and the machine around the command ----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A directory of this machine with two files of text and one of another kind."""
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt", "c.bin"):
        (tmp_path / "tree" / name).write_bytes(b"12345")
    return tmp_path / "tree"


def test_resume_with_a_target_takes_the_job_of_that_target(nfs_server, exported, tree):
    """Not the latest job of all."""
    target = target_of(nfs_server, exported)
    child = start("warm", target, "--json", "--max-bandwidth", "500k")
    wait_until_a_job_goes_on()
    child.send_signal(signal.SIGINT)
    job = json.loads(child.communicate(timeout=10)[0])["job"]
    assert run("warm", tree, "--resume").returncode == 2
    done = run("warm", target, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"] == job


@pytest.mark.parametrize("redirected", ["> /dev/full", ">&-", "2> /dev/full", "2>&-", "<&- >&- 2>&-", "| true"])
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_warm_tree_is_warm_whoever_can_read_of_it(tree, redirected, form):
    """Full, closed or gone: the exit code is that of the job, and nothing ends with a traceback."""
    command = f"set -o pipefail; '{sys.executable}' -m cachewarmer warm '{tree}' {form} {redirected}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == (1 if redirected in ("> /dev/full", ">&-") else 0)


@pytest.mark.parametrize("command", ["scan", "status"])
def test_a_report_that_is_lost_is_an_error_where_it_is_all_there_is(tree, command):
    """In one line."""
    arguments = f"scan '{tree}'" if command == "scan" else "status"
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m cachewarmer {arguments} > /dev/full"], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_report_is_shown_in_any_encoding(tree, encoding):
    """What it has no character for is written in another way."""
    (tree / "emoji🎬").write_bytes(b"x" * 100)
    done = run("warm", tree, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert b"####" in done.stdout
    assert rb"emoji\U0001f3ac" in done.stdout


def test_no_place_for_the_state_is_said_and_the_tree_is_warmed(tree, tmp_path):
    """In a temporary directory, which is gone afterwards."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"HOME": "/proc/none", "TMPDIR": str(temporary)}
    for name in ("CACHEWARMER_BROKER", "XDG_STATE_HOME"):
        environment.pop(name, None)
    done = run("warm", tree, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 3
    assert done.stderr.count(b"\n") == 1
    assert str(temporary).encode() in done.stderr
    assert list(temporary.iterdir()) == []


def test_a_place_for_the_state_that_is_named_and_can_not_be_used_is_one_line(tree, tmp_path):
    """Exit 1: nothing is kept elsewhere, where nobody would look for it."""
    environment = os.environ | {"XDG_STATE_HOME": "/proc/none", "TMPDIR": str(tmp_path)}
    environment.pop("CACHEWARMER_BROKER", None)
    before = sorted(tmp_path.iterdir())
    done = run("warm", tree, "--json", env=environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"/proc/none/cachewarmer" in done.stderr
    assert b"XDG_STATE_HOME" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("limit", ["-n 12", "-v 40000"])
def test_what_the_process_has_too_little_of_is_one_line(tree, limit):
    """Descriptors, memory, threads."""
    command = f"ulimit {limit}; exec '{sys.executable}' -m cachewarmer warm '{tree}' --processes 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert b"ulimit" in done.stderr


@pytest.mark.parametrize("kibibytes", [50_000, 60_000, 70_000, 80_000, 100_000, 120_000])
def test_a_limit_of_memory_never_leaves_a_command_that_hears_no_signal(tree, kibibytes):
    """It is enough, or one line says that it is not, and how much would be."""
    command = f"ulimit -v {kibibytes}; exec '{sys.executable}' -m cachewarmer warm '{tree}' -q"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode in (0, 1)
    assert done.stderr.count(b"\n") == done.returncode, done.stderr
    assert done.returncode == 0 or b"ulimit -v" in done.stderr


@pytest.mark.parametrize("kibibytes", [150_000, 200_000])
async def test_a_limit_of_memory_over_nfs_ends_nothing_without_a_word(tmp_path, kibibytes):
    """It is enough, or one line says what it is not enough for; no library ends the program in its own way."""
    async with ScriptedServer({b"d%d" % number: {b"f": 1000} for number in range(20)}) as server:
        command = (
            f"ulimit -v {kibibytes}; exec '{sys.executable}' -m cachewarmer warm '{server.url()}' --processes 2 -q"
        )
        child = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        )
        _, said = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode in (0, 1), said
    assert said.count(b"\n") == child.returncode, said


@pytest.mark.parametrize("settings", ["[mount]\nno_such = 1\n", '[mount]\noptions = "ro -o exec"\n', "[mount"])
@pytest.mark.parametrize("command", [["warm", "/tmp"], ["scan", "/tmp"], ["manager"], ["worker"], ["status"]])
def test_a_wrong_setting_is_wrong_usage(tmp_path, settings, command):
    """It is found out at the start, whatever the command would do with it."""
    config = tmp_path / "c.toml"
    config.write_text(settings)
    done = run(*command, env=os.environ | {"CACHEWARMER_CONFIG": str(config)})
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_commands_that_only_look_create_nothing(tmp_path):
    """And say that nothing is there; the user's own file, not yet made, is no error."""
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    environment.pop("CACHEWARMER_BROKER", None)
    assert run("status", env=environment).stdout == b"no jobs\n"
    assert json.loads(run("status", "--json", env=environment).stdout)["jobs"] == []
    for arguments in (
        ["status"],
        ["status", "j1"],
        ["cancel", "j1"],
        ["pause", "j1"],
        ["resume", "j1"],
        ["limit", "j1", "1M"],
    ):
        done = run(*arguments, "--broker", f"sqlite:///{tmp_path}/other/file.db", env=environment)
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert b"nothing" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_filters_that_nothing_passes_exit_with_3(tree):
    """Unless that is accepted; scan as well as warm."""
    for command in ("warm", "scan"):
        done = run(command, tree, "--include", "*.exr")
        assert done.returncode == 3
        assert b"0 of 3 files passed the filters" in done.stdout
        assert run(command, tree, "--include", "*.exr", "--allow-empty", "-q").returncode == 0


def test_status_of_a_job_exits_as_warm_did(nfs_server, exported):
    """0, or 3 where files could not be warmed; quietly if asked to."""
    (exported / "locked").write_bytes(b"secret")
    (exported / "locked").chmod(0)
    warmed = run("warm", target_of(nfs_server, exported) + "&uid=12345&gid=12345", "--json")
    assert warmed.returncode == 3
    asked = run("status", json.loads(warmed.stdout)["job"], "-q")
    assert (asked.returncode, asked.stdout, asked.stderr) == (3, b"", b"")


def test_uid_and_gid_are_who_reads(nfs_server, exported):
    """At the server: a file that only its owner may read is read as him, and not as another."""
    (exported / "own").write_bytes(b"secret")
    os.chown(exported / "own", 4711, 4711)
    (exported / "own").chmod(0o600)
    target = target_of(nfs_server, exported)
    assert run("warm", target, "--uid", "4711", "--gid", "4711", "-q").returncode == 0
    assert run("warm", target, "--uid", "4712", "--gid", "4712", "-q").returncode == 3


def test_a_hang_up_stops_a_job_like_an_interrupt(nfs_server, exported):
    """The terminal is gone: the job is left to be resumed, with no traceback for nobody."""
    child = start("warm", target_of(nfs_server, exported), "--json", "--max-bandwidth", "100k")
    wait_until_a_job_goes_on()
    child.send_signal(signal.SIGHUP)
    output, errors = child.communicate(timeout=10)
    assert child.returncode == 130, errors
    assert json.loads(output)["state"] in ("scanning", "warming")


def test_an_interrupt_while_readers_start_leaves_no_traceback(tree):
    """It goes to the whole group, as a terminal sends it, at moments spread over the start."""
    for moment in range(6):
        child = subprocess.Popen(
            [sys.executable, "-m", "cachewarmer", "warm", tree, "--processes", "2", "--max-bandwidth", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and child.poll() is None:
            seen = subprocess.run(["pgrep", "-g", str(child.pid)], capture_output=True, text=True).stdout.split()
            if len(seen) > 1 + moment % 3:
                break
        time.sleep(moment * 0.02)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=20)
        assert child.returncode == 130, errors
        assert b"Traceback" not in errors


def test_a_job_is_limited_and_shows_it_with_its_priority(tree, tmp_path):
    """A rate that hardly anybody means is warned of; what is no rate, and a job that is over, end in one line."""
    broker = ("--broker", f"sqlite:///{tmp_path}/jobs.db")
    submitted = run("submit", tree, "--name", "shot", "--priority", "high", *broker, "--max-bandwidth", "1M", "-q")
    assert submitted.returncode == 0, submitted.stderr
    done = run("limit", "shot", "08:00-20:00=200Mbit,=2Gbit", *broker)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"at most 23.8 MiB/s 08:00-20:00, otherwise at most 238.4 MiB/s" in done.stdout
    (said,) = json.loads(run("status", "--json", *broker).stdout)["jobs"]
    assert (said["priority"], said["max_bandwidth"]) == ("high", 25_000_000)
    assert said["max_bandwidth_hours"] == "08:00-20:00=25000000,=250000000"
    assert b"queued, high" in run("status", *broker).stdout
    assert b"high priority, at most 23.8 MiB/s 08:00-20:00" in run("status", "shot", *broker).stdout
    slow = run("limit", "shot", "1000", *broker)
    assert (slow.returncode, slow.stderr.count(b"\n")) == (0, 1)
    assert b"is the unit right?" in slow.stderr
    assert json.loads(run("limit", "shot", "none", "--json", *broker).stdout)["max_bandwidth"] == 0
    run("cancel", "shot", *broker)
    for rate, code in (("fast", 2), ("08:00-20:00=1M,19:00-21:00=2M", 2), ("1M", 1)):
        wrong = run("limit", "shot", rate, *broker)
        assert (wrong.returncode, wrong.stdout) == (code, b"")
        assert wrong.stderr.count(b"\n") == 1
