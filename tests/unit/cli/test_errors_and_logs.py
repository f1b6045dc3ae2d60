"""What errors and logs look like, whatever stands in them."""

import logging

from cachewarmer.cli.failures import one_line
from cachewarmer.cli.running import log_to_stderr
from cachewarmer.errors import BrokerError, MountError, TransportError


def caused(error, cause):
    error.__cause__ = cause
    return error


class ForeignError(Exception):
    """As a library raises it."""


def test_an_error_names_its_own_causes_in_one_line():
    inner = caused(TransportError("10.0.0.1: lost"), ConnectionResetError(104, "reset by\npeer"))
    line = one_line(caused(MountError("mounting \x1b[2J/a\nb"), inner))
    assert line == r"mounting \x1b[2J/a\nb: 10.0.0.1: lost: [Errno 104] reset by\npeer"


def test_what_a_library_says_is_not_repeated():
    """A storage service quotes the signature that it refused, and what was signed."""
    error = caused(BrokerError("making the queue: not allowed"), ForeignError("The MAC signature 'c2VjcmV0' is not"))
    assert one_line(error) == "making the queue: not allowed"


def test_a_path_can_not_forge_a_line_of_the_log(monkeypatch, capsys):
    """One event is one line."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    log_to_stderr(verbose=False, service=True)
    logging.getLogger("cachewarmer.worker.worker").warning("%s: it fails", "/a\nERROR root: all is lost\x1b[31m\udcff")
    assert capsys.readouterr().err == (
        "WARNING cachewarmer.worker.worker: /a\\nERROR root: all is lost\\x1b[31m\\xff: it fails\n"
    )
