"""How a server is trusted and a user known: TLS with an authority of the site's own, client certificates, Kerberos."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.postgres.refusals import REFUSALS, refusal
from cachewarmer.errors import BrokerError
from cachewarmer.model import JobState
from tests.conformance.labs import a_job
from tests.servers.certificate import authority, issued_by
from tests.servers.kerberos import REALM, Realm, kerberos
from tests.servers.postgres import PostgresServer, postgres

PASSWORD = "hush-hush"
FARM = (f"CREATE ROLE farm LOGIN PASSWORD '{PASSWORD}'", "GRANT CREATE ON DATABASE postgres TO farm")
HOSTS = "127.0.0.1/32"


@dataclass
class Site:
    """A server, and the files of its authority and of another, each with a user's certificate and key."""

    server: PostgresServer
    trusted: Path
    other: Path
    user: tuple[Path, Path]
    stranger: tuple[Path, Path]

    def url(self, settings: str, *, host: str = "localhost", user: str = f"farm:{PASSWORD}") -> str:
        return f"postgresql://{user}@{host}:{self.server.port}/postgres?{settings}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The user ``farm`` has a password and ``certs`` a certificate; both must come by TLS."""
    folder = tmp_path_factory.mktemp("tls")
    trusted, other = authority(folder, "site-ca"), authority(folder, "other-ca")
    certificate, key = issued_by(trusted, folder, "db.example", also="DNS:localhost")
    with postgres() as server:
        for file, name in ((certificate, "server.crt"), (key, "server.key"), (trusted, "root.crt")):
            server.keep(file, name)
        server.run(*FARM, "CREATE ROLE certs LOGIN", "GRANT farm TO certs", "ALTER SYSTEM SET ssl = on")
        server.run("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
        server.let_in(
            f"hostssl all farm {HOSTS} scram-sha-256",
            f"hostssl all certs {HOSTS} cert",
            f"host all farm,certs {HOSTS} reject",
        )
        user = issued_by(trusted, folder, "certs")
        yield Site(server, trusted, other, user, issued_by(other, tmp_path_factory.mktemp("stranger"), "certs"))


async def tls_of(broker: PostgresBroker) -> tuple[bool, str | None]:
    """Whether the connection is encrypted, and whose certificate the client showed."""
    async with broker._database.connection() as connection:
        found = await connection.execute("SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        row = await found.fetchone()
    assert row is not None
    return row["ssl"], row["client_dn"]


async def refused(url: str) -> str:
    """One line, of an error that is not tried again; it never shows the password."""
    with pytest.raises(BrokerError) as caught:
        await PostgresBroker(url).open()
    line = str(caught.value)
    assert not caught.value.transient
    assert "\n" not in line
    assert "hush" not in line
    return line


async def test_a_server_of_the_sites_own_authority_is_trusted_by_its_name(site):
    """sslmode=verify-full, which checks the authority and the name."""
    async with PostgresBroker(site.url(f"sslmode=verify-full&sslrootcert={site.trusted}")) as broker:
        job_id = await broker.submit(a_job())
        assert await broker.state(job_id) is JobState.QUEUED
        assert await tls_of(broker) == (True, None)
        assert broker.shown == f"postgresql://farm@localhost:{site.server.port}/postgres"


async def test_a_client_certificate_takes_the_place_of_a_password(site):
    """The server knows the user by it."""
    trust = f"sslmode=verify-full&sslrootcert={site.trusted}"
    certificate, key = site.user
    async with PostgresBroker(site.url(f"{trust}&sslcert={certificate}&sslkey={key}", user="certs")) as broker:
        assert await tls_of(broker) == (True, "/CN=certs")
    own = "sslcert=FILE&sslkey=FILE in the URL"
    assert (await refused(site.url(trust, user="certs"))).endswith(own)
    certificate, key = site.stranger
    assert (await refused(site.url(f"{trust}&sslcert={certificate}&sslkey={key}", user="certs"))).endswith(own)


async def test_a_server_of_another_authority_is_refused(site):
    """Also one that a public authority would have to know."""
    for settings in (f"sslrootcert={site.other}", "sslrootcert=system"):
        line = await refused(site.url(f"sslmode=verify-full&{settings}"))
        assert line.endswith(
            "certificate verify failed; name the authority that signed the server's certificate: sslrootcert=FILE in the URL"
        )


async def test_a_server_of_another_name_is_refused(site):
    """The address is not in its certificate: verify-ca would do without."""
    line = await refused(site.url(f"sslmode=verify-full&sslrootcert={site.trusted}", host="127.0.0.1"))
    assert line.endswith("name the server as its certificate does")
    async with PostgresBroker(site.url(f"sslmode=verify-ca&sslrootcert={site.trusted}", host="127.0.0.1")) as broker:
        assert (await tls_of(broker))[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("sslmode=verify-full&sslrootcert=/no/such.pem", 'root certificate file "/no/such.pem" does not exist'),
        ("sslmode=disable", "pg_hba.conf rejects connection"),
    ],
)
async def test_what_else_is_refused_at_once(site, settings, says):
    assert says in await refused(site.url(settings))


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(site):
    """Nothing goes over the line in clear, then."""
    with postgres() as server:
        line = await refused(
            f"postgresql://farm:{PASSWORD}@localhost:{server.port}/postgres?sslmode=verify-full&sslrootcert={site.trusted}"
        )
    assert "turn TLS on at the server" in line


def test_the_command_says_it_in_one_line(site):
    """``cachewarmer status`` with the wrong authority: no traceback, no password."""
    url = site.url(f"sslmode=verify-full&sslrootcert={site.other}")
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "status"],
        env=os.environ | {"CACHEWARMER_BROKER": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in (0, 3)
    assert len(done.stderr.splitlines()) == 1
    assert "sslrootcert=FILE" in done.stderr
    assert "hush" not in done.stderr + done.stdout


def test_words_of_a_refusal():
    """What may pass by itself is none: a KDC or a server that nobody reaches."""
    assert refusal("Cannot contact any KDC for realm 'WARM.TEST'") is None
    assert refusal("Connection refused") is None
    assert all(refusal(f"a {words} b") for words in REFUSALS)


@pytest.fixture(scope="module")
def realm():
    with kerberos() as running:
        yield running


@pytest.fixture
def ticketed(realm: Realm, monkeypatch):
    """A server that knows ``farm`` by a ticket alone; the process has one."""
    with postgres() as server:
        keys = server.keep(realm.add("postgres/localhost"), "keytab")
        server.run(*FARM, f"ALTER SYSTEM SET krb_server_keyfile = '{keys}'")
        server.let_in(f"host all farm {HOSTS} gss include_realm=0 krb_realm={REALM}")
        realm.sign_in("farm")
        for name, value in realm.environment.items():
            monkeypatch.setenv(name, value)
        yield server


async def test_a_ticket_of_kerberos_takes_the_place_of_a_password(realm, ticketed):
    """Authenticated, and with gssencmode=require encrypted too; without a ticket one line says what to do."""
    url = f"postgresql://farm@localhost:{ticketed.port}/postgres"
    for mode, encrypted in (("require", True), ("disable", False)):
        async with PostgresBroker(f"{url}?gssencmode={mode}") as broker:
            await broker.submit(a_job())
            async with broker._database.connection() as connection:
                found = await connection.execute(
                    "SELECT gss_authenticated, encrypted, principal FROM pg_stat_gssapi WHERE pid = pg_backend_pid()"
                )
                assert await found.fetchone() == {
                    "gss_authenticated": True,
                    "encrypted": encrypted,
                    "principal": f"farm@{REALM}",
                }
    wrong = await refused(f"postgresql://farm@127.0.0.1:{ticketed.port}/postgres?gssencmode=disable")
    assert "principal" in wrong
    realm.sign_out()
    for mode in ("require", "disable"):
        assert "kinit" in await refused(f"{url}?gssencmode={mode}")
