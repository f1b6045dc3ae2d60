"""The pre-job tasks for render farms: what they run, and what the farm is told of how it ended.

``cachewarmer`` is a program that writes down how it was called and ends as it is told; the farms' own objects are
stand-ins, but for Slurm, which runs the script as it is in the test of the fleet.
"""

import ast
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.servers.need import need

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = """#!/bin/sh
printf '%s|' "$CACHEWARMER_BROKER" "$@" >"{called}"
echo one line of it
exit "${{ENDS:-0}}"
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A ``cachewarmer``; ``called`` is how it was called."""
    monkeypatch.delenv("CACHEWARMER_BROKER", raising=False)
    path = tmp_path / "bin with space" / "cachewarmer"
    path.parent.mkdir()
    called = tmp_path / "called"
    path.write_text(PROGRAM.format(called=called))
    path.chmod(0o755)
    (tmp_path / "broker.env").write_text("# the farm's\nCACHEWARMER_BROKER=postgresql://db/w?a=b\n")
    return types.SimpleNamespace(
        path=path,
        environment_file=tmp_path / "broker.env",
        called=lambda: called.read_text() if called.exists() else "",
    )


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- Slurm ------------------------------------------------------------------------------------------------------------

WARM = DEPLOY / "slurm" / "warm.sh"


def warm(*arguments, **environment):
    return subprocess.run(
        ["sh", WARM, *arguments],
        env={"PATH": os.environ["PATH"], **{key: str(value) for key, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_slurm_script_has_no_fault_that_shellcheck_finds():
    """It is POSIX sh."""
    need(subprocess.run(["sh", "-c", "command -v shellcheck"], capture_output=True).returncode == 0, "shellcheck")
    subprocess.run(["shellcheck", WARM], check=True)


@pytest.mark.parametrize("code", [0, 3])
def test_the_slurm_script_waits_and_ends_as_the_command_does(program, code):
    """Targets and options arrive as they were given; the broker comes from a file."""
    done = warm(
        "--include",
        "*.exr",
        "nfs://c/a b",
        CACHEWARMER=program.path,
        CACHEWARMER_ENV=program.environment_file,
        ENDS=code,
    )
    assert done.returncode == code, done.stderr
    assert program.called() == "postgresql://db/w?a=b|submit|--wait|--include|*.exr|nfs://c/a b|"


def test_the_slurm_script_needs_a_target_and_a_broker(program):
    """It says so, and runs nothing."""
    for arguments in ([], ["nfs://c/a"]):
        done = warm(*arguments, CACHEWARMER=program.path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
    assert not program.called()


# -- Deadline ---------------------------------------------------------------------------------------------------------


class Plugin:
    """What Deadline gives a job's script, as far as this one uses it."""

    def __init__(self, **keys):
        self.keys = keys
        self.said = []
        self.failed = ""

    def GetJob(self):  # noqa: N802
        return self

    def GetJobExtraInfoKeyValueWithDefault(self, name, default):  # noqa: N802
        return self.keys.get(name, default)

    def LogInfo(self, line):  # noqa: N802
        self.said.append(line)

    LogWarning = LogInfo

    def FailRender(self, reason):  # noqa: N802
        self.failed = reason


def deadline(program, **keys):
    plugin = Plugin(**{"CacheWarmerProgram": str(program.path), **keys})
    load(DEPLOY / "deadline" / "cachewarmer_pre_job.py").__main__(plugin)
    return plugin


def test_deadline_waits_and_shows_what_was_said(program):
    """The targets are split as a shell would."""
    keys = {"CacheWarmerTargets": "nfs://c/a 'nfs://c/b c'", "CacheWarmerOptions": "--include '*.exr'"}
    plugin = deadline(program, CacheWarmerEnvironmentFile=str(program.environment_file), **keys)
    assert not plugin.failed
    assert "one line of it" in plugin.said
    assert program.called() == "postgresql://db/w?a=b|submit|--wait|--include|*.exr|nfs://c/a|nfs://c/b c|"


@pytest.mark.parametrize(("code", "failed"), [(1, "exit code 1"), (2, "exit code 2"), (3, "")])
def test_deadline_fails_the_task_unless_only_some_files_failed(program, monkeypatch, code, failed):
    """Those are a warning."""
    monkeypatch.setenv("ENDS", str(code))
    monkeypatch.setenv("CACHEWARMER_BROKER", "b")
    plugin = deadline(program, CacheWarmerTargets="nfs://c/a")
    assert failed in plugin.failed
    assert bool(plugin.failed) == bool(failed)
    assert ("some files" in plugin.said[-1]) == (code == 3)


def test_deadline_says_what_is_missing(program):
    """No targets are no error; no broker and no program are."""
    assert "names no targets" in deadline(program).said[0]
    assert "CACHEWARMER_BROKER is not set" in deadline(program, CacheWarmerTargets="nfs://c/a").failed
    keys = {"CacheWarmerTargets": "x", "CacheWarmerEnvironmentFile": str(program.environment_file)}
    assert "can't be started" in deadline(program, **keys, CacheWarmerProgram="/no/such").failed
    assert not program.called()


def test_deadline_s_script_is_python_of_any_age():
    """Deadline brings its own interpreter, an older one."""
    ast.parse((DEPLOY / "deadline" / "cachewarmer_pre_job.py").read_text(), feature_version=(3, 7))


# -- OpenCue ----------------------------------------------------------------------------------------------------------


class Layer:
    """A layer of PyOutline, as far as it is used."""

    def __init__(self, name, **arguments):
        self.name, self.arguments, self.waits_for, self.environment = name, arguments, [], {}

    def depend_all(self, layer):
        self.waits_for.append(layer.name)

    def set_env(self, key, value):
        self.environment[key] = value


class Job:
    """An outline."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def get_layers(self):
        return self.layers

    def add_layer(self, layer):
        self.layers.append(layer)


@pytest.fixture
def warm_layer(monkeypatch):
    shell = types.ModuleType("outline.modules.shell")
    shell.Shell = Layer
    modules = types.ModuleType("outline.modules")
    modules.shell = shell
    outline = types.ModuleType("outline")
    outline.modules = modules
    for module in (outline, modules, shell):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return load(DEPLOY / "opencue" / "warm_layer.py")


def test_every_other_layer_of_an_opencue_job_waits_for_the_warming(warm_layer):
    """And the warming for none."""
    render, comp = Layer("render"), Layer("comp")
    job = Job(render, comp)
    layer = warm_layer.warm_first(job, ["nfs://c/a"])
    assert job.layers == [render, comp, layer]
    assert render.waits_for == comp.waits_for == ["warm"]
    assert layer.waits_for == []
    assert layer.arguments["range"] == "1"
    with pytest.raises(ValueError, match="no targets"):
        warm_layer.warm_first(job, [])


def test_the_command_of_an_opencue_layer_submits_and_waits(warm_layer, program):
    """Run as the host would run it."""
    layer = warm_layer.warm_first(
        Job(),
        ["nfs://c/a b"],
        ["--include", "*.exr"],
        program=str(program.path),
        environment_file=str(program.environment_file),
    )
    done = subprocess.run(layer.arguments["command"], env={**os.environ, **layer.environment, "ENDS": "3"}, check=False)
    assert done.returncode == 3
    assert program.called() == "postgresql://db/w?a=b|submit|--wait|--include|*.exr|nfs://c/a b|"
