"""A Kerberos realm on loopback: MIT's KDC on a free port, with a database, keys and tickets in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, free_port, stop, wait_until

REALM = "WARM.TEST"


@dataclass
class Realm:
    """A running KDC; ``environment`` leads programs and libraries to it, and to the tickets of one user."""

    place: Path
    environment: dict[str, str]

    def add(self, principal: str) -> Path:
        """A new principal with a random key; the file that holds the key."""
        keys = self.place / f"{principal.replace('/', '.')}.keytab"
        for query in (f"addprinc -randkey {principal}", f"ktadd -k {keys} {principal}"):
            self.run("kadmin.local", "-r", REALM, "-q", query)
        return keys

    def sign_in(self, principal: str) -> None:
        """Gets a ticket for the user, as ``kinit`` of a service does."""
        self.run("kinit", "-k", "-t", str(self.add(principal)), principal)

    def sign_out(self) -> None:
        self.run("kdestroy")

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.program(program), *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            check=False,
        )
        need(done.returncode == 0, f"{program} failed: {done.stderr.decode(errors='replace')[-300:]}")

    @staticmethod
    def program(name: str) -> str:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        need(found, "Kerberos needs the packages krb5-kdc, krb5-admin-server and krb5-user")
        return str(found)


@contextlib.contextmanager
def kerberos() -> Iterator[Realm]:
    """Runs a KDC, and removes all of it. Names are taken as they are: the loopback interface has no DNS."""
    Realm.program("krb5kdc")
    place, port = Path(tempfile.mkdtemp(prefix="kerberos-")), free_port()
    client, server = place / "krb5.conf", place / "kdc.conf"
    client.write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n"
        "dns_canonicalize_hostname = false\nrdns = false\nudp_preference_limit = 1\n"
        f"[realms]\n{REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n"
    )
    server.write_text(
        f'[kdcdefaults]\nkdc_listen = ""\nkdc_tcp_listen = 127.0.0.1:{port}\n'
        f"[realms]\n{REALM} = {{\n database_name = {place}/principals\n key_stash_file = {place}/stash\n"
        f" acl_file = {place}/acl\n max_life = 1h\n}}\n[logging]\nkdc = FILE:{place}/log\n"
    )
    realm = Realm(
        place,
        {
            "KRB5_CONFIG": str(client),
            "KRB5_KDC_PROFILE": str(server),
            "KRB5CCNAME": f"FILE:{place}/tickets",
            "KRB5RCACHENAME": "none:",
        },
    )
    child = None
    try:
        realm.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "of no use to anybody")
        with (place / "output").open("wb") as output:
            child = subprocess.Popen(
                [Realm.program("krb5kdc"), "-n", "-r", REALM, "-P", str(place / "pid")],
                env=os.environ | realm.environment,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: accepts(port), child, "the KDC", place / "output")
        yield realm
    finally:
        if child is not None:
            stop(child)
        shutil.rmtree(place, ignore_errors=True)
