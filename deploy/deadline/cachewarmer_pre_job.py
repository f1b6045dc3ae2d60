"""A pre-job script for Deadline: submits the job's targets to the broker, and holds the job until they are warm.

Deadline calls ``__main__`` on the worker that takes the job's first task, with the plugin as its argument. The job's
ExtraInfoKeyValue entries say what to warm; see the README beside this file.
"""

import os
import shlex
import subprocess

TARGETS = "CacheWarmerTargets"
OPTIONS = "CacheWarmerOptions"
BROKER_FILE = "CacheWarmerEnvironmentFile"
PROGRAM = "CacheWarmerProgram"
FAILED_FILES = 3
"""The exit code of a job that is finished with files that could not be warmed."""


def __main__(*args):
    plugin = args[0]
    job = plugin.GetJob()

    def told(name, default=""):
        return str(job.GetJobExtraInfoKeyValueWithDefault(name, default)).strip()

    targets = shlex.split(told(TARGETS))
    if not targets:
        plugin.LogInfo("cachewarmer: the job names no targets in %s" % TARGETS)
        return
    environment = dict(os.environ)
    environment.update(variables(told(BROKER_FILE)))
    if not environment.get("CACHEWARMER_BROKER"):
        plugin.FailRender("cachewarmer: CACHEWARMER_BROKER is not set on this worker, nor in %s" % BROKER_FILE)
        return
    command = [told(PROGRAM, "cachewarmer"), "submit", "--wait"] + shlex.split(told(OPTIONS)) + targets
    code = run(plugin, command, environment)
    if code == FAILED_FILES:
        plugin.LogWarning("cachewarmer: some files could not be warmed; the job starts all the same")
    elif code != 0:
        plugin.FailRender("cachewarmer: ended with exit code %d; the lines above say why" % code)


def run(plugin, command, environment):
    """The exit code of the command; its lines go to the log of the task."""
    plugin.LogInfo("cachewarmer: " + " ".join(shlex.quote(word) for word in command))
    try:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
    except OSError as error:
        plugin.FailRender("cachewarmer: %s can't be started: %s" % (command[0], error))
        return 0
    with child:
        for line in child.stdout:
            plugin.LogInfo(line.rstrip())
    return child.returncode


def variables(path):
    """The lines NAME=value of a file; none where no file is named."""
    if not path:
        return {}
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
