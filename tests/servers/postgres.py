"""A PostgreSQL server on a free port of the loopback interface, with an empty database."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import psycopg

from tests.servers.need import need
from tests.servers.ports import free_port, stop, wait_until


@dataclass
class PostgresServer:
    """One running server; ``stop`` and ``start`` keep its port and its data."""

    programs: Path
    place: Path
    port: int
    child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://warm@127.0.0.1:{self.port}/postgres"

    def command(self, program: str, *arguments: str) -> list[str]:
        """As an ordinary user: the server refuses to run as root."""
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return [*user, str(self.programs / program), *arguments]

    def start(self) -> None:
        log = (self.place / "log").open("ab")
        self.child = subprocess.Popen(
            self.command("postgres", "-D", str(self.place / "data"), "-p", str(self.port), "-k", str(self.place)),
            stdout=log,
            stderr=log,
            cwd=self.place,
        )
        log.close()
        wait_until(self._is_ready, self.child, "PostgreSQL", self.place / "log")

    def _is_ready(self) -> bool:
        """Whether it takes connections: it listens long before, and refuses them."""
        asked = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def run(self, *statements: str) -> None:
        """SQL of an administrator, each by itself."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def keep(self, file: Path, name: str) -> Path:
        """A copy of a file for the server alone, as it insists with keys."""
        kept = self.place / "data" / name
        shutil.copyfile(file, kept)
        kept.chmod(0o600)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(kept, owner.pw_uid, owner.pw_gid)
        return kept

    def let_in(self, *lines: str) -> None:
        """Puts lines of ``pg_hba.conf`` before those that are there, and has all of its files read again."""
        access = self.place / "data" / "pg_hba.conf"
        access.write_text("".join(f"{line}\n" for line in lines) + access.read_text())
        self.run("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """At once, as if the machine had lost its power."""
        if self.child is not None:
            pid = self.child.pid
            serving = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if self.child.poll() is None else []
            self.child.kill()
            self.child.wait()
            for one in serving:  # they would go on until they notice, and answer what comes until then
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(one), signal.SIGKILL)
            self.child = None


def postgres_programs() -> Path:
    """Where ``initdb`` and ``postgres`` are: Debian's, those on the path, or, where nobody is root, the wheel's."""
    found = sorted(glob("/usr/lib/postgresql/*/bin/postgres"))
    if not found and (on_path := shutil.which("initdb")):
        found = [on_path]
    wheel = importlib.util.find_spec("pgserver")
    if not found and wheel is not None and wheel.origin:
        found = [str(Path(wheel.origin).parent / "pginstall" / "bin" / "postgres")]
    need(found, "PostgreSQL needs the package postgresql, or: pip install pgserver")
    return Path(found[-1]).resolve().parent  # with all that lies beside it


@contextlib.contextmanager
def postgres(*settings: str, durable: bool = False) -> Iterator[PostgresServer]:
    """Runs an empty server, and removes it with its data. ``settings`` are lines of its configuration.

    Unless it is ``durable``, it does not wait for the disk: what it has written outlives the process all the same.
    """
    server = PostgresServer(postgres_programs(), Path(tempfile.mkdtemp(prefix="postgres-")), free_port())
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(server.place, owner.pw_uid, owner.pw_gid)
    try:
        done = subprocess.run(
            server.command(
                "initdb", "-D", str(server.place / "data"), "-U", "warm", "-A", "trust", "--no-sync", "-E", "UTF8"
            ),
            capture_output=True,
            check=False,
            cwd=server.place,
        )
        need(done.returncode == 0, f"initdb failed: {done.stderr.decode(errors='replace')[-300:]}")
        with (server.place / "data" / "postgresql.conf").open("a") as file:
            file.write(
                "listen_addresses = '127.0.0.1'\nmax_connections = 100\nshared_buffers = 64MB\nlog_statement = none\n"
                + ("" if durable else "fsync = off\n")
                + "".join(f"{line}\n" for line in settings)
            )
        server.start()
        yield server
    finally:
        if server.child is not None:
            server.child.send_signal(signal.SIGQUIT)  # its data goes away: neither clients nor the disk are waited for
            stop(server.child)
        shutil.rmtree(server.place, ignore_errors=True)
