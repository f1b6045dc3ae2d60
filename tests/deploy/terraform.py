"""Terraform configurations that a test writes as Python values, and the commands on them, with no network."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.need import need

DEPLOY = Path(__file__).parents[2] / "deploy"
MODULES = DEPLOY / "terraform/modules"


def programs() -> list[str]:
    """Every program here that speaks the language; Terraform where there is none, for ``run`` to say that it is missing."""
    return [name for name in ("terraform", "tofu") if shutil.which(name)] or ["terraform"]


@dataclass(frozen=True)
class Expression:
    """An expression of the language, where other values are taken literally."""

    text: str


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    output: str
    """Both streams, as on a screen."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Added, changed, destroyed, as ``apply`` says."""
        found = re.search(r"Apply complete! Resources: (\d+) added, (\d+) changed, (\d+) destroyed", self.output)
        assert found, self.output
        return int(found[1]), int(found[2]), int(found[3])


class Root:
    """A directory with a root module, and the commands on it."""

    def __init__(
        self, directory: Path, program: str = "terraform", environment: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._program = program
        self._environment = dict(environment or {})

    def run(self, *arguments: str, seconds: float = 240, data: Path | None = None, stdin: str = "") -> Done:
        """One command. It asks nothing, and asks nobody for a newer version of itself."""
        need(shutil.which(self._program), f"{self._program} is not installed: put its executable on the PATH")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "SSH_"))}
        environment |= {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "HOME": str(self.directory)}
        environment |= self._environment | ({"TF_DATA_DIR": str(data)} if data else {})
        done = subprocess.run(
            [self._program, *arguments],
            cwd=self.directory,
            env=environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def initialise(self) -> None:
        """``init``, without a provider."""
        done = self.run("init", "-backend=false", "-input=false", "-no-color")
        assert done.code == 0, done.output

    def text(self, expression: str, variables: Mapping[str, object]) -> str:
        """The text that an expression gives, with these values for the root module's variables."""
        values = json.dumps(variables)
        with tempfile.NamedTemporaryFile("w", suffix=".tfvars.json") as file:
            file.write(values)
            file.flush()
            done = self.run("console", f"-var-file={file.name}", stdin=f"base64encode({expression})\n")
        assert done.code == 0, done.output
        return base64.b64decode(done.output.strip().strip('"')).decode()

    def apply(self, *arguments: str, seconds: float = 240) -> Done:
        """``apply`` without asking."""
        self.initialise()
        return self.run("apply", "-auto-approve", "-input=false", "-no-color", *arguments, seconds=seconds)

    def destroy(self, seconds: float = 240) -> Done:
        """``destroy`` without asking."""
        return self.run("destroy", "-auto-approve", "-input=false", "-no-color", seconds=seconds)


class Configuration(Root):
    """A root module that calls modules of this project."""

    def __init__(self, directory: Path, program: str = "terraform") -> None:
        super().__init__(directory, program)
        self._initialised = ""
        # Named by an absolute path a module would be a package of its own, and could not call its neighbours.
        (directory / "deploy").symlink_to(DEPLOY)

    def write(self, modules: Mapping[str, Mapping[str, object]]) -> None:
        """Calls each module with these arguments. One name may stand for another module: ``name=module``.

        Values go through variables, so that nothing in them is taken for a template.
        """
        variables: dict[str, object] = {}
        values: dict[str, object] = {}
        calls: dict[str, dict[str, object]] = {}
        for key, arguments in modules.items():
            name, _, module = key.partition("=")
            call: dict[str, object] = {"source": f"./deploy/terraform/modules/{module or name}"}
            for argument, value in arguments.items():
                if argument == "depends_on" or isinstance(value, Expression):
                    call[argument] = f"${{{value.text}}}" if isinstance(value, Expression) else value
                else:
                    call[argument] = f"${{var.{name}_{argument}}}"
                    variables[f"{name}_{argument}"] = {}
                    values[f"{name}_{argument}"] = value
            calls[name] = call
        outputs = {name: {"value": f"${{module.{name}}}", "sensitive": True} for name in calls}
        document = {"variable": variables, "module": calls, "output": outputs}
        (self.directory / "main.tf.json").write_text(json.dumps(document, indent=1))
        (self.directory / "terraform.tfvars.json").write_text(json.dumps(values, indent=1))

    def initialise(self) -> None:
        """``init``, again whenever the modules called are others."""
        text = (self.directory / "main.tf.json").read_text()
        if text != self._initialised:
            super().initialise()
            self._initialised = text

    def output(self, module: str) -> dict[str, object]:
        """All outputs of a module."""
        done = self.run("output", "-json", module)
        assert done.code == 0, done.output
        found = json.loads(done.output)
        assert isinstance(found, dict)
        return found
