"""A certificate for servers of the loopback interface."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers.need import need


def self_signed(folder: Path, *names: str) -> tuple[Path, Path]:
    """A new certificate for 127.0.0.1 and some names, and its key; both in files of ``folder``."""
    need(shutil.which("openssl"), "openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    also = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in names)])
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", key, "-out", certificate, "-addext", f"subjectAltName={also}"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate, key
