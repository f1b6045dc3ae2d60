"""A layer for OpenCue jobs that submits targets to the broker and waits: the job's other layers depend on it.

import outline
from warm_layer import warm_first

job = outline.Outline("shot42", shot="shot42", show="show", user="td")
job.add_layer(render)
warm_first(job, ["nfs://cache/projects/shot42"])
outline.cuerun.launch(job)
"""

import shlex

import outline.modules.shell

SCRIPT = (
    'if [ -n "$CACHEWARMER_ENV" ]; then set -a; . "$CACHEWARMER_ENV" || exit 2; set +a; fi; '
    'exec {program} submit --wait "$@"'
)


def warm_first(job, targets, options=(), program="cachewarmer", environment_file="", name="warm"):
    """Adds the layer to ``job``, which has its other layers already, and lets each of them wait for it.

    ``options`` are options of ``cachewarmer submit``. ``environment_file`` is a file on the render hosts with the line
    ``CACHEWARMER_BROKER=…``; without it their environment must name the broker.
    """
    if not targets:
        raise ValueError("no targets to warm")
    others = list(job.get_layers())
    script = SCRIPT.format(program=shlex.quote(program))
    layer = outline.modules.shell.Shell(
        name,
        command=["/bin/sh", "-c", script, "cachewarmer"] + list(options) + list(targets),
        range="1",
        threads=0.1,
        threadable=False,
    )
    if environment_file:
        layer.set_env("CACHEWARMER_ENV", environment_file)
    if layer not in job.get_layers():  # a current outline takes new layers by itself
        job.add_layer(layer)
    for other in others:
        other.depend_all(layer)
    return layer
