"""The scanner that looks for unsafe settings in Terraform files, in an environment of its own.

It pins versions of much that this project's own tests use in newer ones. Of the scanners that are kept up it is the one
that comes from PyPI; it looks at nothing on the network.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

VERSION = "3.3.30"


def checkov() -> Path:
    """The installed program; half a minute the first time."""
    place = cache_directory() / f"checkov-{VERSION}"
    with locked("checkov"):
        if not (place / "complete").exists():
            venv.create(place, with_pip=True, clear=True)
            command = [place / "bin/pip", "install", "--quiet", "--disable-pip-version-check", f"checkov=={VERSION}"]
            for _ in range(3):  # a registry may have a bad moment
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    break
            need(done.returncode == 0, f"pip could not install checkov {VERSION}: {done.stderr[-300:]}")
            (place / "complete").touch()
    return place / "bin/checkov"


def scan(directory: Path) -> dict[str, Any]:
    """What it says of the Terraform files below ``directory``: ``summary``, and ``results`` by kind."""
    program = checkov()
    done = subprocess.run(
        [program, "--directory", ".", "--framework", "terraform", "--skip-download", "--output", "json"],
        cwd=directory,
        env=os.environ | {"LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
