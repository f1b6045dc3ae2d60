"""What no waiting mends is told from what may pass by its SQLSTATE, in whatever language the server speaks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from cachewarmer.broker.postgres import database, refusals
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.postgres.refusals import refusal, states_said
from cachewarmer.errors import BrokerError, BrokerUnavailable
from tests.servers.need import need
from tests.servers.postgres import postgres

LOCALE = "de_DE.UTF-8"


@contextlib.asynccontextmanager
async def refusing(*states: str):
    """The URL of servers each of which refuses every connection with one of these SQLSTATEs, and German words."""
    async with contextlib.AsyncExitStack() as servers:
        ports = []
        for state in states:

            async def serve(reader, writer, state=state):
                await reader.read(1024)
                fields = f"SFATAL\0VFATAL\0C{state}\0Mdas geht so nicht\0\0".encode()
                writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

            server = await servers.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            ports.append(server.sockets[0].getsockname()[1])
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"postgresql://warm:hush-hush@{hosts}/postgres?sslmode=disable&gssencmode=disable"


@pytest.mark.parametrize("state", ["28P01", "28000", "3D000", "42501", "55000"])
async def test_a_refusal_for_good_is_one(state):
    """One line with the server's own words, what they mean and the SQLSTATE; it is not tried again."""
    async with refusing(state) as url:
        with pytest.raises(BrokerError) as caught:
            await PostgresBroker(url).open()
    line = str(caught.value)
    assert not caught.value.transient
    assert "das geht so nicht" in line
    assert f"(SQLSTATE {state})" in line
    assert "\n" not in line
    assert "hush" not in line


@pytest.mark.parametrize("states", [["57P03"], ["53300"], ["57P01"], ["XX000"], ["28P01", "57P03"]])
async def test_what_may_pass_is_waited_for(states, monkeypatch):
    """Starting up, no connection left, what nobody knows; and one of several servers is enough."""
    monkeypatch.setattr(database, "START_SECONDS", 0.1)
    async with refusing(*states) as url:
        with pytest.raises(BrokerUnavailable, match="das geht so nicht"):
            await PostgresBroker(url).open()


async def test_without_the_function_of_libpq_what_is_not_known_may_pass(monkeypatch):
    """As with every server before."""
    monkeypatch.setattr(database, "START_SECONDS", 0.1)
    monkeypatch.setattr(refusals, "_set_verbosity", lambda: None)
    async with refusing("28P01") as url:
        with pytest.raises(BrokerUnavailable, match="das geht so nicht"):
            await PostgresBroker(url).open()


def test_a_server_that_never_answers_is_not_waited_for_long():
    """Nor one whose port nobody has; neither has a SQLSTATE."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        assert states_said(f"postgresql://warm@127.0.0.1:{port}/x?sslmode=disable", 0.2) == ()
        assert time.monotonic() - began >= 0.2
    assert states_said(f"postgresql://warm@127.0.0.1:{port}/x", 5.0) == ()
    assert states_said("host=nobody.invalid dbname=x", 5.0) == ()


def test_a_class_of_states_means_what_its_states_do():
    assert "(SQLSTATE 28999)" in (refusal("no words that are known", ["28999"]) or "")
    assert refusal("no words that are known", []) is None


@pytest.fixture
def german(monkeypatch):
    """A server whose messages are in German, with a user who has a password and one who may not come in."""
    need(shutil.which("localedef"), "another language needs localedef, of the package libc-bin")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)  # the server runs as another user
        command = ["localedef", "--no-archive", "-i", "de_DE", "-f", "UTF-8", str(place / LOCALE)]
        done = subprocess.run(command, capture_output=True, check=False)
        need((place / LOCALE).is_dir(), f"another language needs the package locales: {done.stderr.decode()[-200:]}")
        monkeypatch.setenv("LOCPATH", made)
        with postgres(f"lc_messages = '{LOCALE}'") as server:
            server.run("CREATE ROLE farm LOGIN PASSWORD 'hush-hush'", "CREATE ROLE shut LOGIN")
            server.let_in("host all farm 127.0.0.1/32 scram-sha-256", "host all shut 127.0.0.1/32 reject")
            yield server


async def test_a_server_that_speaks_german_refuses_as_any_other_does(german, monkeypatch):
    """A wrong password, a database that is not there, an address that is not let in; and a lack of connections passes."""
    at = f"127.0.0.1:{german.port}"
    refused = {
        f"postgresql://farm:hush-wrong@{at}/postgres": ("Passwort", "28P01"),
        f"postgresql://warm@{at}/nowhere": ("existiert nicht", "3D000"),
        f"postgresql://shut@{at}/postgres": ("lehnt Verbindung ab", ""),  # known by pg_hba.conf, which has no language
        f"postgresql://nobody@{at}/postgres": ("existiert nicht", "28000"),
    }
    for url, (words, state) in refused.items():
        with pytest.raises(BrokerError) as caught:
            await PostgresBroker(url).open()
        need(words in str(caught.value), f"the server's messages are not in German: {caught.value}")
        assert not caught.value.transient
        assert not state or f"SQLSTATE {state}" in str(caught.value)
        assert "hush" not in str(caught.value)
    monkeypatch.setattr(database, "START_SECONDS", 0.1)
    german.run("ALTER ROLE farm CONNECTION LIMIT 1", "GRANT CREATE ON DATABASE postgres TO farm")
    url = f"postgresql://farm:hush-hush@{at}/postgres"
    async with await psycopg.AsyncConnection.connect(url):
        with pytest.raises(BrokerUnavailable, match="zu viele Verbindungen"):
            await PostgresBroker(url).open()
    async with PostgresBroker(url) as broker:
        assert await broker.jobs() == []
