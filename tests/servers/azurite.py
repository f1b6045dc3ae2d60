"""The queue, table and blob services of an Azure storage account: Azurite on free ports of the loopback interface."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.need import need
from tests.servers.ports import accepts, cache_directory, free_port, locked, stop, wait_until

VERSION = "3.37"


def azurite_program() -> Path:
    """The installed program; installs it into the cache directory with npm when it is not there yet."""
    need(shutil.which("node") and shutil.which("npm"), "Azurite needs node and npm")
    place = cache_directory() / f"azurite-{VERSION}"
    program = place / "node_modules" / ".bin" / "azurite"
    with locked("azurite"):
        if not program.exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--silent"]
            for _ in range(3):  # a registry may have a bad moment
                done = subprocess.run([*command, f"azurite@{VERSION}"], cwd=place, capture_output=True, check=False)
                if done.returncode == 0 and program.exists():
                    break
            said = done.stderr.decode(errors="replace").strip()[-300:]
            need(done.returncode == 0 and program.exists(), f"npm could not install azurite@{VERSION}: {said}")
    return program


@contextlib.contextmanager
def azurite(account: str = "warmtest", certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Runs an empty storage account and yields its connection string; keeps the log on failure.

    With a certificate and its key it speaks TLS, and takes tokens as well.
    """
    program = azurite_program()
    key = base64.b64encode(secrets.token_bytes(48)).decode()
    ports = {service: free_port() for service in ("blob", "queue", "table")}
    place = Path(tempfile.mkdtemp(prefix="azurite-"))
    log = place / "log"
    flags = [
        part
        for service, port in ports.items()
        for part in (f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port))
    ]
    scheme = "http"
    if certificate:
        scheme = "https"
        flags += ["--oauth", "basic", "--cert", str(certificate[0]), "--key", str(certificate[1])]
    with contextlib.ExitStack() as stack, log.open("wb") as output:
        child = subprocess.Popen(
            [
                "node",
                program,
                *flags,
                "--disableTelemetry",
                "--skipApiVersionCheck",
                "--inMemoryPersistence",
                "--loose",
                "--silent",
            ],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
        )
        stack.callback(stop, child)
        wait_until(lambda: all(accepts(port) for port in ports.values()), child, "Azurite", log)
        endpoints = "".join(
            f"{service.capitalize()}Endpoint={scheme}://127.0.0.1:{port}/{account};" for service, port in ports.items()
        )
        yield f"DefaultEndpointsProtocol={scheme};AccountName={account};AccountKey={key};{endpoints}"
        stack.close()
        shutil.rmtree(place, ignore_errors=True)
