"""Logs for people and for programs, on standard error and in files."""

import json
import logging
import os
import re

import pytest

from cachewarmer.about import about
from cachewarmer.cli import failures, logs
from cachewarmer.cli.logs import LogFile, Logging
from cachewarmer.errors import TransportError, UsageError

log = logging.getLogger("cachewarmer.worker.worker")


@pytest.fixture(autouse=True)
def as_in_a_process_of_its_own(monkeypatch):
    """What a command sets up, and another test must not see."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logs, "_handlers", [])
    monkeypatch.setattr(logs, "_process", {})
    monkeypatch.setattr(failures, "logged", None)
    monkeypatch.delenv("CACHEWARMER_CONFIG", raising=False)
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def lines(text):
    """The objects of JSON Lines, read as strictly as jq does."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_of_json_says_what_it_is_about(capsys):
    """Time in UTC, level, part, message, and whatever is known beside them."""
    Logging(service=True, format="json").begin()
    logs.this_is(worker="node7/12")
    log.warning("%s is slow", "it", extra=about(job="j1", item="i1", address="10.0.0.1", nothing=""))
    (line,) = lines(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "logger": "cachewarmer.worker.worker",
        "pid": os.getpid(),
        "worker": "node7/12",
        "message": "it is slow",
        "job": "j1",
        "item": "i1",
        "address": "10.0.0.1",
    }


def test_hostile_names_stay_in_their_line():
    """Control characters, a line end, half a surrogate pair and bytes that are not UTF-8 are escaped."""
    parts = about(item="b\x00\u202e\udcfe", level="fatal")
    name = '/a\n{"level":"fatal"}\x1b[31m\udcff\ud800'
    # Not logged: half a pair in what pytest keeps of a log is too much for its own processes.
    record = log.makeRecord("here", logging.INFO, "", 0, "%s", (name,), None, extra=parts)
    said = logs.JsonLine(verbose=False).format(record)
    assert said.isascii()
    assert "\n" not in said
    (line,) = lines(said)
    assert line["message"].startswith('/a\\n{"level":"fatal"}\\x1b[31m\\xff')
    assert not set(line["item"]) & set("\x00\u202e\udcfe")
    assert line["level"] == "info"
    json.dumps(line, ensure_ascii=False).encode()  # no surrogate is left


def test_the_address_of_an_error_is_a_part_of_its_line(capsys):
    """Also where whoever logs it says nothing of it; a fault of ours comes with its traceback, another error without."""
    Logging(service=True, format="json").begin()
    log.warning("%s; waiting", TransportError("refused", address="10.0.0.9"))
    for error in (TransportError("lost", address="fd00::1"), ZeroDivisionError("0")):
        log.error("reading", exc_info=error)
    refused, lost, fault = lines(capsys.readouterr().err)
    assert refused["address"] == "10.0.0.9"
    assert (lost["error"], "traceback" in lost) == ("fd00::1: lost", False)
    assert "ZeroDivisionError" in fault["traceback"]


def test_a_service_writes_to_its_file_and_not_to_standard_error(tmp_path, capsys):
    """With the time, as no journal adds it; a file that is there is added to."""
    file = tmp_path / "log"
    file.write_text("before\n")
    Logging(service=True, file=str(file)).begin()
    log.info("here")
    assert capsys.readouterr().err == ""
    assert re.fullmatch(r"before\n\S+Z INFO cachewarmer.worker.worker: here\n", file.read_text())


def test_a_command_writes_the_course_of_things_to_its_file(tmp_path, capsys):
    """Standard error has what it would have without: warnings, and what the command ends with."""
    file = tmp_path / "log"
    Logging(file=str(file), format="json").begin()
    log.info("a job begins")
    log.warning("an address is away")
    failures.guarded(lambda: failures.tell("it failed") or 1)
    assert capsys.readouterr().err == "an address is away\ncachewarmer: it failed\n"
    assert [one["message"] for one in lines(file.read_text())] == ["a job begins", "an address is away", "it failed"]


def test_what_a_command_ends_with_is_json_where_standard_error_is(capsys):
    """A program that reads it meets nothing else there."""

    def fail():
        raise UsageError("no such thing")

    Logging(format="json").begin()
    assert failures.guarded(fail) == 2
    (line,) = lines(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("error", "no such thing")


def test_lines_that_were_asked_for_are_shown_by_any_command(capsys, tmp_path):
    """``warm --stats``: on standard error, or in the log file where there is one; not where nothing is to be shown."""
    stats = logging.getLogger("cachewarmer.cli.stats")
    for options in ({}, {"quiet": True}, {"file": str(tmp_path / "log")}):
        Logging(**options).begin()
        stats.info("in 1m: nothing")
        logging.getLogger("cachewarmer.cli.page").info("the page is there")
        log.info("the course of things")
    assert capsys.readouterr().err == "in 1m: nothing\nthe page is there\nthe page is there\n"
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_a_file_that_is_truncated_is_gone_on_with(tmp_path):
    """logrotate's copytruncate: no hole is left where the file was cut."""
    file = LogFile(str(tmp_path / "log"))
    file.write("one\n")
    os.truncate(tmp_path / "log", 0)
    file.write("two\n")
    assert (tmp_path / "log").read_bytes() == b"two\n"


def test_a_full_disk_is_said_once(monkeypatch, capsys, tmp_path):
    """The lines in between are lost, and are counted in the first one that has room again; a torn line is ended."""
    room, write = [4], os.write

    def full(descriptor, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, bytes(data)[: room[0]])
        room[0] -= written
        return written

    file = tmp_path / "log"
    Logging(service=True, file=str(file), format="json").begin()
    monkeypatch.setattr(logs.os, "write", full)
    for number in range(3):
        log.info("%s", number)
    room[0] = 1 << 20
    log.info("back")
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("log: ")[2] for line in said] == [
        "No space left on device: lines are lost until it can be written again",
        "it can be written again",
    ]
    torn, *rest = file.read_text().splitlines()
    assert torn == '{"ti'
    assert [json.loads(line)["message"] for line in rest] == [
        "back",
        "3 lines missing before the line above: they could not be written",
    ]


@pytest.mark.parametrize("place", ["", "none/log", "fifo", "a\0b"])
def test_a_file_that_can_not_be_written_is_wrong_usage(tmp_path, place):
    """A directory, one that is not there, and a FIFO without a reader: one line, at once."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match=r"^--log-file .*: [^:]+$"):
        Logging(file=str(tmp_path / place)).begin()


def test_a_service_has_the_settings_for_what_its_options_leave_open(tmp_path, monkeypatch, capsys):
    """So units need no other command line; other commands don't write to the file of a service."""
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[log]\nformat = "json"\nfile = "{tmp_path}/service.log"\n')
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(settings))
    Logging(service=True).begin()
    log.info("here")
    Logging(service=True, format="text", file=str(tmp_path / "other.log")).begin()
    log.info("there")
    Logging().begin()
    log.warning("a command")
    assert [one["message"] for one in lines((tmp_path / "service.log").read_text())] == ["here"]
    assert (tmp_path / "other.log").read_text().endswith("INFO cachewarmer.worker.worker: there\n")
    assert capsys.readouterr().err == "a command\n"
