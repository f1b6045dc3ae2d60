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


def self_signed(folder: Path, *names: str) -> tuple[Path, Path]:
    """A new certificate for 127.0.0.1 and some names, and its key; both in files of ``folder``."""
    need(shutil.which("openssl"), "openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    also = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in names)])
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", key, "-out", certificate, "-addext", f"subjectAltName={also}"]
    subprocess.run([*command, *files], check=True, capture_output=True)
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
