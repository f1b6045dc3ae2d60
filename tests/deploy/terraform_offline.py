"""Terraform on a copy of the examples, with providers that know a schema and nothing else: no network, no account, no download."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.published_schema import PROVIDERS, Published, provider_schema
from tests.deploy.terraform import DEPLOY, Root
from tests.servers.ports import stop

EXAMPLES = DEPLOY / "terraform/examples"
DECLARED = re.compile(r'^\s*(resource|data)\s+"(\w+)"', re.MULTILINE)


class Offline:
    """A copy of ``deploy``, to be looked at and changed at will."""

    def __init__(self, copy: Path, program: str, environment: dict[str, str]) -> None:
        self.terraform = copy / "terraform"
        self.examples = self.terraform / "examples"
        self._program = program
        self._environment = environment

    def root(self, directory: Path) -> Root:
        """The commands on one directory."""
        return Root(directory, self._program, self._environment)

    def validate(self, directory: Path) -> str:
        """What Terraform finds wrong; empty if nothing."""
        root = self.root(directory)
        ready = root.run("init", "-backend=false", "-input=false", "-no-color")
        if ready.code:
            return ready.output
        found = json.loads(root.run("validate", "-json", "-no-color").output)
        return "\n".join(f"{one['severity']}: {one['summary']}: {one['detail']}" for one in found["diagnostics"])


def declared(directory: Path, provider: Published) -> tuple[set[str], set[str]]:
    """The provider's resources and data sources that are used below ``directory``."""
    found = [pair for path in directory.rglob("*.tf") for pair in DECLARED.findall(path.read_text())]
    ours = [(kind, name) for kind, name in found if name.startswith(f"{provider.name}_")]
    return {name for kind, name in ours if kind == "resource"}, {name for kind, name in ours if kind == "data"}


@contextlib.contextmanager
def offline(place: Path, program: str) -> Iterator[Offline]:
    """Copies ``deploy`` into ``place`` and runs the providers."""
    copy = place / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns(".terraform*"))
    attached = {}
    with contextlib.ExitStack() as stack:
        for provider in PROVIDERS:
            schema, socket = place / f"{provider.name}.json", place / f"{provider.name}.sock"
            schema.write_text(json.dumps(provider_schema(provider, *declared(copy, provider))))
            child = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("schema_provider.py"), schema, socket],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            stack.callback(stop, child)
            assert child.stdout
            stack.callback(child.stdout.close)
            if child.stdout.readline() != b"ready\n":
                raise RuntimeError("the provider did not start")
            attached[f"hashicorp/{provider.name}"] = {
                "Protocol": "grpc",
                "ProtocolVersion": 5,
                "Pid": child.pid,
                "Test": True,
                "Addr": {"Network": "unix", "String": str(socket)},
            }
        yield Offline(copy, program, {"TF_REATTACH_PROVIDERS": json.dumps(attached)})
