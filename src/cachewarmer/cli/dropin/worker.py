"""``cachewarmer-worker``."""

from __future__ import annotations

from collections.abc import Sequence

from cachewarmer.cli import worker
from cachewarmer.cli.dropin.common import DEBUGGING, STORAGE, broker_choice, run_flags
from cachewarmer.cli.dropin.flags import Flag, FlagSet, Values
from cachewarmer.cli.options.general import Output

FLAGS = FlagSet(
    program="cachewarmer-worker",
    summary="Claims work items from the queues of a storage account and reads them.",
    example="cachewarmer-worker -storageAccountName ACCOUNT -queueNamePrefix PREFIX",
    flags=(
        DEBUGGING,
        *STORAGE,
        Flag(name="storageKey", text="key of the storage account (default: sign in with the identity of the machine)"),
    ),
)


def run(arguments: Sequence[str]) -> int:
    """Reads the flags and runs the command."""
    return run_flags(FLAGS, arguments, lambda values: worker.run(parse(values)))


def parse(values: Values) -> worker.WorkerOptions:
    """Makes the options."""
    return worker.WorkerOptions(broker=broker_choice(values), output=Output(verbose=values.switch("enableDebugging")))
