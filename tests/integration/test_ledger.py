"""The ledger of a job on one machine, with the command as people run it."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from cachewarmer.paths import to_bytes


def cachewarmer(*arguments, state, check=(0,)):
    """Runs the command; its result."""
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", *map(str, arguments)],
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in check, done.stderr.decode()
    return done


def read(path):
    """The records by path, each path once."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {to_bytes(row["path"]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for number in range(300):
        folder = root / f"d{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(b"x" * number)
    with open(os.fsencode(root) + b'/d0/n\xff"\n', "wb") as file:
        file.write(b"odd")
    os.truncate(root / "d0" / "f0", 3_000_000)
    return root


def all_of(tree):
    return {os.path.join(folder, name) for folder, _, names in os.walk(os.fsencode(tree)) for name in names}


def test_each_file_has_one_record(tree, tmp_path):
    """Of any name; with the size, the times and the bytes that it had. Large files are read in ranges, and have one too."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[plan]\nrange_bytes = 1048576\nitem_files = 20\n")
    ledger = tmp_path / "ledger.jsonl"
    os.environ["CACHEWARMER_CONFIG"] = str(settings)
    try:
        cachewarmer("warm", tree, "--ledger", ledger, "-q", state=tmp_path / "state")
    finally:
        del os.environ["CACHEWARMER_CONFIG"]
    rows = read(ledger)
    assert set(rows) == all_of(tree)
    for path, row in rows.items():
        there = os.stat(path)
        assert (row["status"], row["bytes"], row["size"]) == ("read", there.st_size, there.st_size)
        assert (row["mtime"], row["ctime"]) == pytest.approx((there.st_mtime, there.st_ctime), abs=1e-6)


def settled_items(file):
    """How many items have a receipt, as the broker's file says; 0: it is not there yet."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as one,
    ):
        return one.execute("SELECT count(*) FROM items WHERE settled = 1").fetchone()[0]
    return 0


def test_a_killed_worker_leaves_each_record_once(tree, tmp_path):
    """Items that were in its hands are delivered again, and count once in the ledger as in the totals."""
    file, ledger = tmp_path / "broker.db", tmp_path / "ledger.jsonl"
    settings = tmp_path / "settings.toml"
    settings.write_text("[plan]\nitem_files = 5\n")
    environment = {**os.environ, "CACHEWARMER_CONFIG": str(settings)}
    command = [
        sys.executable,
        "-m",
        "cachewarmer",
        "warm",
        "-q",
        "--ledger",
        str(ledger),
        "--broker",
        f"sqlite:///{file}",
    ]
    first = subprocess.Popen([*command, str(tree), "--processes", "2", "--max-bandwidth", "300K"], env=environment)
    try:
        while not settled_items(file):
            assert first.poll() is None
            time.sleep(0.1)
    finally:
        first.kill()
        first.wait()
    assert not ledger.exists()
    assert 0 < settled_items(file) < 60
    subprocess.run([*command, "--resume"], env=environment, check=True, timeout=60)
    rows = read(ledger)
    assert set(rows) == all_of(tree)
    assert {row["status"] for row in rows.values()} == {"read"}


def test_what_could_not_be_read_is_named(tree, tmp_path):
    """A name of a list that is not there is a failed record; the command says so by its exit code."""
    names, ledger = tmp_path / "names", tmp_path / "ledger.jsonl"
    names.write_text("d0/f7\nd0/missing\n")
    cachewarmer("warm", tree, "--files-from", names, "--ledger", ledger, "-q", state=tmp_path / "state", check=(3,))
    rows = read(ledger)
    failed = rows[os.fsencode(tree / "d0" / "missing")]
    assert (failed["status"], failed["error"]) == ("failed", "there is no such file")
    assert rows[os.fsencode(tree / "d0" / "f7")]["status"] == "read"


def test_a_ledger_that_can_not_be_written_is_told_at_once(tree, tmp_path):
    """Before anything is read, in one line."""
    done = cachewarmer("warm", tree, "--ledger", tmp_path / "no" / "l", state=tmp_path / "state", check=(2,))
    assert b"there is no directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_parts_of_files_are_told(tree, tmp_path):
    """A file of which bytes are named in several places of a list is one record, with the sum of them."""
    names, ledger = tmp_path / "names", tmp_path / "ledger.jsonl"
    names.write_text("d0/f7\t0\t3\nd1/f99\nd0/f14\t2\t4\nd0/f7\t5\t2\nd0/f14\n")
    cachewarmer("warm", tree, "--files-from", names, "--ledger", ledger, "-q", state=tmp_path / "state")
    rows = read(ledger)
    told = {os.path.basename(path): (row["status"], row["bytes"], row["size"]) for path, row in rows.items()}
    assert told == {b"f7": ("part", 5, 7), b"f99": ("read", 99, 99), b"f14": ("read", 14, 14)}


def report(*arguments, state, check=(0,)):
    return json.loads(cachewarmer(*arguments, "--json", "-q", state=state, check=check).stdout)


@pytest.mark.parametrize("by", ["file", "job"])
def test_only_what_changed_is_read(tree, tmp_path, by):
    """A file whose data, or whose ctime alone, changed, a new one, and one that failed before; the others are counted,
    and are records of the new ledger as well.
    """
    state, ledger = tmp_path / "state", tmp_path / "ledger.jsonl"
    first = report("warm", tree, "--ledger", ledger, "--name", "first", state=state)
    assert (first["files"], first["unchanged_files"]) == (301, 0)
    (tree / "d1" / "f8").write_bytes(b"12345678")
    (tree / "d2" / "f9").chmod(0o600)
    os.utime(tree / "d3" / "f10", (1, 1))
    (tree / "d4" / "new").write_bytes(b"new")
    (tree / "d5" / "f12").unlink()
    since = ledger if by == "file" else "first"
    second = report("warm", tree, "--since", since, "--ledger", ledger, state=state)
    assert (second["files"], second["unchanged_files"], second["bytes"]) == (4, 297, 8 + 9 + 10 + 3)
    rows = read(ledger)
    assert set(rows) == all_of(tree)
    assert {os.path.basename(path) for path, row in rows.items() if row["status"] == "read"} == {
        b"f8",
        b"f9",
        b"f10",
        b"new",
    }
    third = report("warm", tree, "--since", ledger, state=state)
    assert (third["files"], third["unchanged_files"]) == (0, 301)


def test_what_failed_is_read_again(tree, tmp_path):
    """``--failed-of`` takes target and files from the job; where nothing failed, nothing is wrong."""
    names, state = tmp_path / "names", tmp_path / "state"
    names.write_text("d0/f7\nd0/odd \nd0/later\n")
    first = report("warm", tree, "--files-from", names, "--keep-ledger", state=state, check=(3,))
    assert (first["files"], first["failed_files"]) == (1, 2)
    (tree / "d0" / "odd ").write_bytes(b"x" * 5)
    (tree / "d0" / "later").write_bytes(b"x" * 6)
    second = report("warm", "--failed-of", first["job"], state=state)
    assert (second["files"], second["bytes"]) == (2, 11)
    third = report("warm", "--failed-of", second["job"], state=state)
    assert third["files"] == 0


def test_a_wrong_ledger_is_named(tree, tmp_path):
    """What is no ledger, a job that kept none, and options that contradict each other: one line, and exit code 2."""
    state, wrong = tmp_path / "state", tmp_path / "wrong"
    wrong.write_text('{"path":"/a","status":"read"}\nnonsense\n')
    plain = report("warm", tree, state=state)["job"]
    for arguments, said in (
        (("--since", wrong), "line 2: not a record"),
        (("--since", tmp_path / "missing"), "No such file"),
        (("--since", plain), "kept no ledger"),
        (("--failed-of", plain), "leave out a TARGET"),
    ):
        done = cachewarmer("warm", tree, *arguments, state=state, check=(2,))
        assert said in done.stderr.decode()
        assert len(done.stderr.splitlines()) == 1


def test_a_job_of_a_fleet_is_exported_with_its_records(tree, tmp_path, shared_broker, monkeypatch):
    """``submit --keep-ledger``, a manager with workers, ``export``: one document; then a job since that one."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[targets]\nallow_local = ["{tmp_path}"]\n[plan]\nitem_files = 20\n[lease]\npoll_seconds = 0.1\n'
    )
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(settings))
    state, url = tmp_path / "state", shared_broker
    first = cachewarmer("submit", tree, "--keep-ledger", "--broker", url, state=state).stdout.decode().strip()
    cachewarmer("manager", "--fleet", "local", "--workers", 2, "--broker", url, "--exit-when-idle", 1, state=state)
    exported = json.loads(cachewarmer("export", first, "--broker", url, state=state).stdout)
    assert exported["report"]["files"] == 301
    rows = exported["ledger"]
    assert len(rows) == 301
    assert {to_bytes(row["path"]) for row in rows} == all_of(tree)
    ledger = tmp_path / "ledger.jsonl"
    cachewarmer("export", first, "--broker", url, "--ledger", ledger, state=state)
    assert set(read(ledger)) == all_of(tree)
    (tree / "d1" / "f8").write_bytes(b"changed")
    second = cachewarmer("submit", tree, "--since", ledger, "--broker", url, state=state).stdout.decode().strip()
    cachewarmer("manager", "--fleet", "local", "--workers", 1, "--broker", url, "--exit-when-idle", 1, state=state)
    told = json.loads(cachewarmer("export", second, "--broker", url, state=state).stdout)
    assert (told["report"]["files"], told["report"]["unchanged_files"]) == (1, 300)
    assert sorted(row["status"] for row in told["ledger"]) == ["read"] + ["unchanged"] * 300


def test_a_watch_reads_what_changes(tree, tmp_path):
    """Round by round; another watch of the same target is refused, one for a timer does nothing, and SIGTERM is exit 0."""
    state = tmp_path / "state"
    command = [sys.executable, "-m", "cachewarmer", "watch", str(tree)]
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    watch = subprocess.Popen([*command, "--every", "1"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert "301 files read" in watch.stdout.readline()
        assert cachewarmer("watch", tree, "--once", state=state).stdout == b""
        refused = cachewarmer("watch", tree, state=state, check=(1,)).stderr
        assert b"another process is watching" in refused
        assert len(refused.splitlines()) == 1
        assert "0 files read" in watch.stdout.readline()
        (tree / "d1" / "f8").write_bytes(b"changed")
        for line in watch.stdout:
            if "1 files read" in line:
                break
        assert "300 unchanged" in line
        watch.terminate()
        assert watch.wait(30) == 0
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()
    assert b"0 files read" in cachewarmer("watch", tree, "--once", state=state).stdout
