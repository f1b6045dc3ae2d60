"""PgBouncer in transaction mode before a PostgreSQL server, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, free_port, stop, wait_until
from tests.servers.postgres import PostgresServer


@contextlib.contextmanager
def pgbouncer(server: PostgresServer, server_connections: int) -> Iterator[str]:
    """The URL of a pooler that shares ``server_connections`` among any number of clients."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    need(program, "a pooler needs the package pgbouncer")
    place, port = Path(tempfile.mkdtemp(prefix="pgbouncer-")), free_port()
    config = place / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=warm\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {server_connections}\nmax_client_conn = 500\n"
    )
    user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(place, owner.pw_uid, owner.pw_gid)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    log = place / "log"
    child = None
    try:
        with log.open("wb") as file:
            child = subprocess.Popen([*user, str(program), str(config)], stdout=file, stderr=file, cwd=place)
        wait_until(lambda: accepts(port), child, "PgBouncer", log)
        yield f"postgresql://warm@127.0.0.1:{port}/postgres"
    finally:
        if child is not None:
            stop(child)
        shutil.rmtree(place, ignore_errors=True)
