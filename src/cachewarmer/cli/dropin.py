"""The first CacheWarmer's three commands, flag for flag; ``dropin_flags`` has the flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cachewarmer.cli.dropin_flags import (
    JOBSUBMITTER,
    JOBSUBMITTER_SWITCHES,
    MANAGER,
    SWITCHES,
    WORKER,
    broker_url,
    parse,
    whole_number,
)


def jobsubmitter(arguments: Sequence[str]) -> int:
    """``cachewarmer-jobsubmitter``."""
    chosen = parse("cachewarmer-jobsubmitter", JOBSUBMITTER, JOBSUBMITTER_SWITCHES, arguments)
    from cachewarmer.cli.submit_dropin import run_jobsubmitter

    return run_jobsubmitter(chosen)


def manager(arguments: Sequence[str]) -> int:
    """``cachewarmer-manager``. A worker count above 0 means a VM scale set; 0 leaves it to the settings file."""
    chosen = parse("cachewarmer-manager", MANAGER, SWITCHES, arguments)
    chosen.workers = whole_number(chosen, "workerCount")
    chosen.fleet = "vmss" if chosen.workers else None
    chosen.bootstrap_address = chosen.bootstrapMountAddress
    chosen.bootstrap_export = chosen.bootstrapExportPath
    chosen.bootstrap_script = chosen.bootstrapScriptPath
    chosen.vmss_user_name, chosen.vmss_password = chosen.vmssUserName, chosen.vmssPassword
    chosen.vmss_ssh_public_key, chosen.vmss_subnet_name = chosen.vmssSshPublicKey, chosen.vmssSubnetName
    return _service("manager", chosen)


def worker(arguments: Sequence[str]) -> int:
    """``cachewarmer-worker``."""
    return _service("worker", parse("cachewarmer-worker", WORKER, SWITCHES, arguments))


def _service(kind: str, chosen: argparse.Namespace) -> int:
    from cachewarmer.cli import service

    chosen.broker = broker_url(chosen)
    chosen.resource_group = chosen.storageAccountResourceGroup
    chosen.account_key = getattr(chosen, "storageKey", "")
    chosen.verbose, chosen.quiet = chosen.enableDebugging, False
    chosen.transport, chosen.window, chosen.connections, chosen.exit_on_eof = "", None, None, False
    chosen.name, chosen.exit_when_idle, chosen.jobs_at_once, chosen.max_bandwidth = "", None, 4, 0
    return service.run_manager(chosen) if kind == "manager" else service.run_worker(chosen)
