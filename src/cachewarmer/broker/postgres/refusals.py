"""Recognizes errors of connections that waiting does not fix, and gives advice.

An error of a connection that fails before the server accepts it has no SQLSTATE, because libpq does not keep it. Its
text consists of parts of libpq and of the server, in the language of the server. So if the words of an error are not
known, another attempt is made, with a libpq that is told to include the SQLSTATE.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import select
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cache

import psycopg
from psycopg import conninfo, pq

NO_CERTIFICATE = (
    "name a certificate of this user that the server's authority signed: sslcert=FILE&sslkey=FILE in the URL"
)
NO_TICKET = "get a ticket with kinit, or name the cache that holds one in KRB5CCNAME"

REFUSALS: Mapping[str, str] = {
    "certificate verify failed": "name the authority that signed the server's certificate: sslrootcert=FILE in the URL",
    "does not match host name": "name the server as its certificate does",
    "root certificate file": "",
    "does not support SSL": "turn TLS on at the server, or use sslmode=prefer where the network is to be trusted",
    "valid client certificate": NO_CERTIFICATE,
    "alert unknown ca": NO_CERTIFICATE,
    "no encryption": "this server may want TLS: put sslmode=verify-full into the URL",
    "No Kerberos credentials": NO_TICKET,
    "no credential cache": NO_TICKET,
    "Ticket expired": NO_TICKET,
    "not found in Kerberos database": "name the server as its Kerberos principal does (postgres/HOST)",
    "authentication failed": "",
    "no password supplied": "put it into .pgpass or a service file, or use a client certificate or Kerberos",
    "does not exist": "",
    "pg_hba.conf": "",
}
"""Words in an error of libpq, with advice; empty: the error says it itself. The first words that are found count."""

STATES: Mapping[str, str] = {
    "28P01": "the password is wrong, or the user is not known",
    "28": "the server's pg_hba.conf does not let this user in from here; it may want TLS (sslmode=verify-full in the URL)",
    "3D000": "there is no such database: name one in the URL",
    "42501": "GRANT CONNECT ON DATABASE gives the user what is missing",
    "55000": "the database does not allow connections",
    "0A000": "the server does not do what the URL asks for",
    "08P01": "the server does not understand the connection: is it PostgreSQL, of version 12 or later?",
    "22023": "the URL sets something to a value that the server does not take",
    "42704": "the URL sets something that the server does not know",
}
"""SQLSTATEs, and classes of them, of permanent refusals (PostgreSQL manual, appendix A), and what they mean. For
others, such as a server that is starting or has no connection left, waiting may be enough."""

ANSWER = re.compile(r"failed: [^:\n]+: {2}(?:([0-9A-Z]{5}): )?")
"""What precedes the server's own words in an error of libpq: ``FATAL`` in the server's language, two blanks, and the
SQLSTATE if libpq includes it. If no server answers, there is only one blank."""
VERBOSE = 2
"""``PQERRORS_VERBOSE`` (libpq-fe.h): errors include the SQLSTATE."""


def is_answer(said: str) -> bool:
    """Whether an error of libpq contains an answer of a server."""
    return ANSWER.search(said) is not None


def refusal(said: str, states: Collection[str] = ()) -> str | None:
    """A line that says why a connection is refused, and what to do; None: it may be accepted later. Pure.

    ``states`` are the SQLSTATEs of the servers that the URL names; None if ``STATES`` lacks one of them.
    """
    for words, mend in REFUSALS.items():
        if words in said:
            return f"{said}; {mend}" if mend else said
    mends = [STATES.get(state) or STATES.get(state[:2]) for state in states]
    if not mends or None in mends:
        return None
    return f"{said}; {mends[0]} (SQLSTATE {next(iter(states))})"


def states_said(url: str, seconds: float) -> tuple[str, ...]:
    """The SQLSTATEs with which the servers of ``url`` refuse new connections. Blocks for up to ``seconds`` for each.

    A server that accepts the connection or does not answer has none; empty if libpq can't be told to include them.
    """
    set_verbosity = _set_verbosity()
    if set_verbosity is None:
        return ()
    states: list[str] = []
    for one in _each_server(url):
        with contextlib.suppress(OSError, ValueError, psycopg.Error):
            connection = pq.PGconn.connect_start(one.encode())
            try:
                set_verbosity(getattr(connection, "pgconn_ptr", None), VERBOSE)
                _until_connected(connection, time.monotonic() + seconds)
                states += filter(None, ANSWER.findall(connection.error_message.decode("utf-8", "replace")))
            finally:
                connection.finish()
    return tuple(states)


def _each_server(url: str) -> Iterator[str]:
    """A connection string for each server in ``url``, because libpq itself stops at the first one that refuses."""
    parts = conninfo.conninfo_to_dict(url)
    lists = {name: str(parts[name]).split(",") for name in ("host", "hostaddr", "port") if parts.get(name)}
    for number in range(max(map(len, lists.values()), default=1)):
        chosen = {name: values[number] if number < len(values) else values[-1] for name, values in lists.items()}
        yield conninfo.make_conninfo("", **{**parts, **chosen})


def _until_connected(connection: pq.abc.PGconn, until: float) -> None:
    """Continues until the connection is accepted or refused, or the time is over (libpq, PQconnectPoll)."""
    waits_to_read = False
    while time.monotonic() < until and connection.socket >= 0:
        sockets = [connection.socket]
        reading, writing = (sockets, []) if waits_to_read else ([], sockets)
        if not any(select.select(reading, writing, [], max(0.0, until - time.monotonic()))):
            return
        polled = connection.connect_poll()
        if polled in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            return
        waits_to_read = polled == pq.PollingStatus.READING


@cache
def _set_verbosity() -> ctypes._NamedFuncPointer | None:
    """``PQsetErrorVerbosity`` of the libpq in use, which psycopg does not offer; None: it can't be found."""
    module = sys.modules[pq.PGconn.__module__]
    compiled = getattr(module, "__file__", None) or ""
    name = pq.misc.find_libpq_full_path() if pq.__impl__ == "python" else compiled
    try:
        found = ctypes.CDLL(name).PQsetErrorVerbosity  # in the module itself, or in a library that it is linked with
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return found
