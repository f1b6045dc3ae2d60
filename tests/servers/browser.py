"""Headless Chromium, driven by playwright-core from npm, and axe-core to judge a page."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

PACKAGES = ("playwright-core@1.64", "axe-core@4.10")


def modules() -> Path:
    """The directory of the installed npm packages; installs them into the cache directory when they are not there yet."""
    need(shutil.which("node") and shutil.which("npm"), "the browser's driver needs node and npm")
    need(shutil.which("chromium"), "Chromium is not installed (chromium)")
    place = cache_directory() / "browser"
    found = place / "node_modules"
    with locked("browser"):
        if not (found / "playwright-core").exists() or not (found / "axe-core").exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--silent"]
            for _ in range(3):  # a registry may have a bad moment
                done = subprocess.run([*command, *PACKAGES], cwd=place, capture_output=True, check=False)
                if done.returncode == 0:
                    break
            said = done.stderr.decode(errors="replace").strip()[-300:]
            need(done.returncode == 0, f"npm could not install {' '.join(PACKAGES)}: {said}")
    return found


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    """Runs a script of ours that drives the browser; it says on stdout what it wants done."""
    found = modules()
    browser = shutil.which("chromium")
    assert browser is not None
    return subprocess.Popen(
        ["node", str(script), *arguments],
        env={**os.environ, "BROWSER_MODULES": str(found), "CHROMIUM": browser},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
