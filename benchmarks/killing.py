"""Ten jobs over Azurite and NFS-Ganesha, each with a worker and then its manager killed: are the totals exact?

    python -m benchmarks.killing [TIMES]

One manager, three workers; 50,000 files in 2,000 directories and four sparse files of over 1 GiB.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

from tests.e2e.killing import make_tree, warm_under_kills
from tests.servers.azurite import azurite
from tests.servers.ganesha import ganesha


def main() -> int:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    wrong = 0
    with tempfile.TemporaryDirectory() as base, azurite() as connection:
        export = Path(base) / "export"
        tree = make_tree(export / "tree", 2000, 25, 4, (1 << 30) + 54321)
        with ganesha(export) as server:
            for run in range(times):
                work = Path(base) / f"run{run}"
                work.mkdir()
                prefix = f"b{secrets.token_hex(4)}"
                report = warm_under_kills(connection, prefix, server.target("/tree"), work, run)
                exact = (report["files"], report["bytes"], report["failed_files"]) == (tree.files, tree.bytes, 0)
                wrong += not exact
                print(
                    f"run {run + 1}: {report['state']}, {report['files']} of {tree.files} files, {report['bytes']} of "
                    f"{tree.bytes} bytes, {report['seconds']} s, {'exact' if exact else 'WRONG'}",
                    flush=True,
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
