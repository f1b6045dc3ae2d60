"""Terraform on a copy of the examples, with a provider that knows azurerm's schema: no network, no account, no download."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.azurerm_schema import provider_schema
from tests.servers.need import need
from tests.servers.ports import REPOSITORY, stop

TERRAFORM = REPOSITORY / "deploy/terraform"
EXAMPLES = TERRAFORM / "examples"
DECLARED = re.compile(r'^\s*(resource|data)\s+"(azurerm_\w+)"', re.MULTILINE)


@dataclass(frozen=True)
class Offline:
    """A copy of ``deploy/terraform`` to be looked at, and changed, at will."""

    root: Path
    environment: dict[str, str]

    @property
    def examples(self) -> Path:
        return self.root / "examples"

    def run(self, directory: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One Terraform command in ``directory``, without colours."""
        return subprocess.run(
            ["terraform", *arguments],
            cwd=directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def validate(self, directory: Path) -> str:
        """What Terraform finds wrong; empty if nothing."""
        ready = self.run(directory, "init", "-backend=false", "-input=false", "-no-color")
        if ready.returncode:
            return ready.stdout + ready.stderr
        found = json.loads(self.run(directory, "validate", "-json", "-no-color").stdout)
        return "\n".join(f"{one['severity']}: {one['summary']}: {one['detail']}" for one in found["diagnostics"])


def declared(root: Path) -> tuple[set[str], set[str]]:
    """The azurerm resources and data sources that are used below ``root``."""
    found = [pair for path in root.rglob("*.tf") for pair in DECLARED.findall(path.read_text())]
    return {name for kind, name in found if kind == "resource"}, {name for kind, name in found if kind == "data"}


@contextlib.contextmanager
def offline(place: Path) -> Iterator[Offline]:
    """Copies the examples and the modules to ``place`` and runs the provider."""
    need(shutil.which("terraform"), "terraform is not installed")
    root = place / "terraform"
    shutil.copytree(TERRAFORM, root, ignore=shutil.ignore_patterns(".terraform*"))
    schema, socket = place / "schema.json", place / "provider.sock"
    schema.write_text(json.dumps(provider_schema(*declared(root))))
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("schema_provider.py"), schema, socket],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(stop, child)
        assert child.stdout
        stack.callback(child.stdout.close)
        if child.stdout.readline() != b"ready\n":
            raise RuntimeError("the provider did not start")
        attach = {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": child.pid,
            "Test": True,
            "Addr": {"Network": "unix", "String": str(socket)},
        }
        settings = place / "terraformrc"
        settings.touch()
        yield Offline(
            root,
            os.environ
            | {
                "TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/azurerm": attach}),
                "TF_CLI_CONFIG_FILE": str(settings),
                "TF_IN_AUTOMATION": "1",
                "CHECKPOINT_DISABLE": "1",
            },
        )
