"""Ten jobs over a shared broker and NFS-Ganesha, each with a worker and then its manager killed: are the totals exact?

    python -m benchmarks.killing [--broker azurite|postgres] [--times N] [--restarts N]

One manager, three workers; 50,000 files in 2,000 directories and four sparse files of over 1 GiB. ``--restarts`` kills
the PostgreSQL server so often in each job besides, as if its machine lost its power, and starts it again.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import tempfile
from pathlib import Path

from tests.e2e.killing import Site, azure_site, make_tree, postgres_site, warm_under_kills
from tests.servers.azurite import azurite
from tests.servers.ganesha import ganesha
from tests.servers.postgres import PostgresServer, postgres


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=("azurite", "postgres"), default="azurite")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=0)
    chosen = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as servers:
        export = Path(base) / "export"
        tree = make_tree(export / "tree", 2000, 25, 4, (1 << 30) + 54321)
        server = servers.enter_context(ganesha(export))
        database: PostgresServer | None = None
        if chosen.broker == "postgres":
            database = servers.enter_context(postgres(durable=True))
        else:
            connection = servers.enter_context(azurite())
        for run in range(chosen.times):
            work = Path(base) / f"run{run}"
            work.mkdir()
            site: Site = postgres_site(database) if database else azure_site(connection, f"b{secrets.token_hex(4)}")
            report = warm_under_kills(site, server.target("/tree"), work, run, restarts=chosen.restarts)
            exact = (report["files"], report["bytes"], report["failed_files"]) == (tree.files, tree.bytes, 0)
            wrong += not exact
            print(
                f"run {run + 1}: {report['state']}, {report['files']} of {tree.files} files, {report['bytes']} of "
                f"{tree.bytes} bytes, {report['seconds']} s, {report['restarts']} restarts, {'exact' if exact else 'WRONG'}",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
