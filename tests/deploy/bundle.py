"""The single-file program, built from this checkout once and kept until a source changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked

ROOT = Path(__file__).parents[2]


@cache
def bundle() -> Path:
    """``cachewarmer``; builds it when there is none of these sources, which takes about a minute (and some more when the
    interpreter has to be built)."""
    need(sys.platform == "linux" and os.uname().machine == "x86_64", "the bundle is for Linux on x86-64")
    need(shutil.which("objdump"), "binutils is not installed")
    kinds = ("*.py", "*.sql", "*.sh")
    sources = [*(path for kind in kinds for path in (ROOT / "src").rglob(kind)), *(ROOT / "deploy/bundle").iterdir()]
    digest = hashlib.sha256()
    for path in sorted([*sources, ROOT / "pyproject.toml", ROOT / "constraints.txt"]):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    place = cache_directory() / "bundles"
    program = place / digest.hexdigest()[:16] / "cachewarmer"
    with locked("bundle"):
        if not program.with_name("SHA256SUMS").exists():
            work = place / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            for name in ("src", "deploy", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
                subprocess.run(["cp", "-a", ROOT / name, work], check=True)
            done = subprocess.run(
                ["sh", "deploy/bundle/build"],
                cwd=work,
                env=os.environ | {"BUNDLE_CACHE": str(place / "environment")},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"the bundle was not built\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
            for old in place.iterdir():
                if old.is_dir() and old.name not in ("work", "environment"):
                    shutil.rmtree(old)
            program.parent.mkdir()
            for path in [*(work / "dist").glob("*.whl"), work / "dist" / "SHA256SUMS"]:
                shutil.copy(path, program.with_name(path.name))
            for name in ("sbom.cdx.json", "licenses.txt", "cachewarmer"):
                shutil.copy(work / "dist" / name, program.with_name(name))
            shutil.rmtree(work)
    return program


def wheel() -> Path:
    """The wheel that is made with it."""
    (path,) = bundle().parent.glob("*.whl")
    return path
