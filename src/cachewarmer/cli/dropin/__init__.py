"""The three commands of the first CacheWarmer, with its flags. Each parses them into the options of our own command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cachewarmer.cli.failures import guarded


def run(name: str, arguments: Sequence[str]) -> int:
    """Runs ``cachewarmer-NAME`` and returns its exit code."""
    from cachewarmer.cli.dropin import jobsubmitter, manager, worker

    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "jobsubmitter": jobsubmitter.run,
        "manager": manager.run,
        "worker": worker.run,
    }
    return guarded(lambda: commands[name](arguments), program=f"cachewarmer-{name}")
