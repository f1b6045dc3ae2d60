"""What the three drop-in commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cachewarmer.cli.dropin.flags import Flag, FlagSet, HelpWanted, Values
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.failures import guarded
from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.streams import note, show

DEBUGGING = Flag(name="enableDebugging", switch=True, text="log debugging messages")
STORAGE = (
    Flag(
        name="storageAccountResourceGroup",
        text="resource group of the storage account, where its key is looked up if the identity has no role for its data",
    ),
    Flag(name="storageAccountName", required=True, text="storage account with the queues"),
    Flag(name="queueNamePrefix", required=True, text="prefix of the queue names; missing queues are created"),
)


def broker_choice(values: Values) -> BrokerChoice:
    """The broker that the storage flags name."""
    return BrokerChoice(
        url=f"azure://{values.text('storageAccountName')}/{values.text('queueNamePrefix')}",
        resource_group=values.text("storageAccountResourceGroup"),
        storage_key=values.text("storageKey"),
    )


def run_flags(flags: FlagSet, arguments: Sequence[str], run: Callable[[Values], int]) -> int:
    """Parses the flags and runs the command with them; ``-h`` shows the help instead. Returns the exit code."""
    try:
        values = flags.parse(arguments)
    except HelpWanted:
        show(flags.usage())
        return WARM
    if values.rest:
        note(f"{flags.program}: ignored: {' '.join(values.rest)!r} (flags end at the first argument that is not one)")
    return guarded(lambda: run(values), program=flags.program, verbose=values.switch(DEBUGGING.name))
