"""Servers of the loopback interface that speak TLS, and a certificate for them."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from tests.servers.need import need
from tests.servers.ports import free_port

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def self_signed(folder: Path, *names: str) -> tuple[Path, Path]:
    """A new certificate for 127.0.0.1 and some names, and its key; both in files of ``folder``."""
    need(shutil.which("openssl"), "openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    also = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in names)])
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", key, "-out", certificate, "-addext", f"subjectAltName={also}"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate, key


def authority(folder: Path, name: str) -> Path:
    """The certificate of a new authority, in a file of ``folder``; its key lies beside it, for ``issued_by``."""
    need(shutil.which("openssl"), "openssl is not installed")
    certificate = folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", certificate.with_suffix(".key"), "-out", certificate]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate


def issued_by(signer: Path, folder: Path, name: str, *, also: str = "") -> tuple[Path, Path]:
    """A certificate for ``name`` that an authority signed, and its key; ``also`` are alternative names as openssl's."""
    certificate, key, request = (folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
    asked = ["openssl", "req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request]
    subprocess.run([*asked, *(["-addext", f"subjectAltName={also}"] if also else [])], check=True, capture_output=True)
    signed = [
        "openssl",
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        signer,
        "-CAkey",
        signer.with_suffix(".key"),
        "-days",
        "2",
    ]
    files = ["-CAcreateserial", "-copy_extensions", "copy", "-out", certificate]
    subprocess.run([*signed, *files], check=True, capture_output=True)
    return certificate, key


@contextlib.asynccontextmanager
async def tls_server(answer, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Serves every request with ``answer(request)``; yields the port."""
    server = web.Application(client_max_size=1 << 23)
    server.router.add_route("*", "/{path:.*}", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(server)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield port
    finally:
        await runner.cleanup()
