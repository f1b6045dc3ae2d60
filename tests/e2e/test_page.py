"""The page in a real browser: a manager, two workers, an NFS server, and what goes wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.browser import start
from tests.servers.ports import accepts, free_port, stop, wait_until
from tests.servers.postgres import postgres

SCRIPT = Path(__file__).parent / "browser" / "page.mjs"
READABLE = 602
"""Files of ``tree`` that a worker may read; there is one more."""
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;\u202egnp\u0007<b>"
PICTURES = Path(os.environ.get("CACHEWARMER_PICTURES") or Path(__file__).parents[2] / ".cache" / "pictures")


@pytest.fixture
def tree(nfs_root):
    place = nfs_root / "page"
    place.mkdir()
    for number in range(READABLE - 2):
        below = place / f"d{number % 12:02}"
        below.mkdir(exist_ok=True)
        (below / f"f{number:03}").write_bytes(b"x" * 500_000)
    for name in ("a\"'\u202e.exr", "a\x1b[2J\n"):
        (place / name).write_bytes(b"x")
    denied = place / "a<script>alert(2)\u202egnp\x1b[2J\n\"'&lt;\u2028"
    denied.write_bytes(b"x" * 9)
    denied.chmod(0)
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_shows_and_steers_a_real_manager(tree, nfs_server, tmp_path):
    """Submitted, watched, limited, paused, resumed, a worker killed, the broker away, completed, verified; another cancelled."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    port = free_port()
    program = [sys.executable, "-m", "cachewarmer"]
    log = tmp_path / "log"
    with postgres() as database, log.open("wb") as output:
        (tmp_path / "config.toml").write_text("[lease]\nlease_seconds = 6\n[plan]\nitem_files = 50\n")
        environment = {
            **os.environ,
            "CACHEWARMER_BROKER": database.url,
            "CACHEWARMER_CONFIG": str(tmp_path / "config.toml"),
        }
        running = [
            subprocess.Popen([*program, *more], env=environment, stdout=output, stderr=output)
            for more in (
                ["manager", "--http", f"127.0.0.1:{port}"],
                ["worker", "--name", "first", "--uid", "12345"],
                ["worker", "--name", "second", "--uid", "12345"],
            )
        ]
        driver = None
        try:
            wait_until(lambda: accepts(port), running[0], "the manager", log)
            target = nfs_server.target("page")
            driver = start(SCRIPT, f"http://127.0.0.1:{port}/", target, str(PICTURES), HOSTILE, str(READABLE))
            for line in driver.stdout:
                said = line.strip()
                if said == "kill a worker":
                    running[1].kill()
                elif said == "take the broker away":
                    database.stop()
                elif said == "bring the broker back":
                    database.start()
                else:
                    assert said == "done", said
                    break
                driver.stdin.write("\n")
        finally:
            for one in [*running, *([driver] if driver else [])]:
                stop(one)
            if driver:
                driver.stdin.close()
                driver.stdout.close()
    pictures = [
        f"{name}-{width}-{scheme}.png"
        for name in ("job", "lost", "away", "end", "list")
        for width in (400, 1280, 1600)
        for scheme in ("light", "dark")
    ]
    assert all((PICTURES / name).exists() for name in pictures)
