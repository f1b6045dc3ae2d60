"""What errors and logs look like, whatever stands in them."""

import logging

from cachewarmer.cli.failures import exit_code, guarded, one_line
from cachewarmer.cli.logs import Logging
from cachewarmer.errors import BrokerError, ConfigError, Interrupted, MountError, TransportError, UsageError


def caused(error, cause):
    error.__cause__ = cause
    return error


class ForeignError(Exception):
    """As a library raises it."""


def test_an_error_names_its_own_causes_in_one_line():
    """Nothing that came from a server can act on the terminal, or start a second line."""
    inner = caused(TransportError("lost", address="10.0.0.1"), ConnectionResetError(104, "reset by\npeer"))
    line = one_line(caused(MountError("refused", doing="mounting", subject=b"\x1b[2J/a\nb"), inner))
    assert line == r"mounting \x1b[2J/a\nb: refused: 10.0.0.1: lost: reset by\npeer"


def test_what_the_line_says_already_is_left_out_and_the_advice_comes_last():
    """The address, which may be an IPv6 address, and a path that is not UTF-8 are named once."""
    inner = TransportError("no route to host", address="fd00::1", subject=b"/a\xff", advice="check the network")
    outer = MountError("no answer", doing="mounting", subject=b"/a\xff", address="fd00::1")
    assert one_line(caused(outer, inner)) == r"fd00::1: mounting /a\xff: no answer: no route to host; check the network"


def test_exit_codes_follow_the_kind_of_error():
    """A wrong setting is wrong usage; so is whatever raises it, however late."""
    assert [exit_code(kind("x")) for kind in (UsageError, ConfigError, Interrupted, BrokerError, MemoryError)] == [
        *(2, 2, 130, 1, 1)
    ]


def test_memory_that_runs_out_is_one_line(capsys):
    """Without a traceback, unless one is asked for."""

    def fail():
        raise MemoryError

    assert guarded(fail) == 1
    assert capsys.readouterr().err.startswith("cachewarmer: out of memory")


def test_a_traceback_can_not_act_on_the_terminal(capsys):
    """A server's text in it is escaped like everywhere else."""

    def fail():
        raise MountError("no such export", subject=b"/a\x1b]0;x\x07")

    assert guarded(fail, verbose=True) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "\x1b" not in said


def test_what_a_library_says_is_not_repeated():
    """A storage service quotes the signature that it refused, and what was signed."""
    error = caused(BrokerError("making the queue: not allowed"), ForeignError("The MAC signature 'c2VjcmV0' is not"))
    assert one_line(error) == "making the queue: not allowed"


def test_a_path_can_not_forge_a_line_of_the_log(monkeypatch, capsys):
    """One event is one line."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    Logging(service=True).begin()
    logging.getLogger("cachewarmer.worker.worker").warning("%s: it fails", "/a\nERROR root: all is lost\x1b[31m\udcff")
    assert capsys.readouterr().err == (
        "WARNING cachewarmer.worker.worker: /a\\nERROR root: all is lost\\x1b[31m\\xff: it fails\n"
    )
