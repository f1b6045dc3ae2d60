"""The custom data that makes a new machine a worker, as ``#cloud-config``.

It holds two files and one command. ``launch.env`` holds the values, each quoted for the shell, and the whole file in
base64, so that no value can break the document; only root may read it, and it is removed when the worker is installed.
``launch`` is the script ``launch.sh`` beside this module: it mounts the bootstrap export, waits for the bootstrap
script, runs it and unmounts the export.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from importlib import resources

from cachewarmer.azure.endpoints import azure_environment
from cachewarmer.config import VmssSettings, proxies
from cachewarmer.errors import ConfigError
from cachewarmer.fleet.base import WorkerLaunch

DIRECTORY = "/etc/cachewarmer"
SCRIPT_PATH = f"{DIRECTORY}/launch"
VALUES_PATH = f"{DIRECTORY}/launch.env"
LOG_PATH = "/var/log/cachewarmer-bootstrap.log"
METADATA_ADDRESS = "169.254.169.254"
"""Never reached through a proxy, which would ask the metadata service of its own machine, if any."""


def custom_data(
    launch: WorkerLaunch,
    settings: VmssSettings,
    *,
    client_id: str = "",
    key: str = "",
    proxy: Mapping[str, str] | None = None,
) -> str:
    """The ``#cloud-config`` document for the machines of a scale set.

    Args:
        launch: the broker and the bootstrap folder.
        settings: only ``worker_key`` and ``allow_internet`` are used.
        client_id: the client id of the identity that the workers sign in with.
        key: the key of the account, if they sign in with it; empty: ``worker_key``.
        proxy: the variables ``http_proxy``, ``https_proxy`` and ``no_proxy`` that are set; None: those of this process.

    Raises:
        ConfigError: a value can't be passed on, or part of the bootstrap folder is not named.
    """
    proxy = proxies() if proxy is None else proxy
    values = launch_values(launch, settings, client_id=client_id, key=key, proxy=proxy)
    script = resources.files("cachewarmer.fleet.vmss").joinpath("launch.sh").read_text(encoding="ascii")
    return "\n".join(
        [
            "#cloud-config",
            "write_files:",
            f"  - path: {SCRIPT_PATH}",
            "    owner: root:root",
            "    permissions: '0700'",
            "    content: |",
            *(f"      {line}" if line else "" for line in script.splitlines()),
            f"  - path: {VALUES_PATH}",
            "    owner: root:root",
            "    permissions: '0600'",
            "    encoding: b64",
            f"    content: {base64.b64encode(assignments(values).encode()).decode()}",
            "runcmd:",
            f"  - [{SCRIPT_PATH}]",
            "",
        ]
    )


def launch_values(
    launch: WorkerLaunch, settings: VmssSettings, *, client_id: str, proxy: Mapping[str, str], key: str = ""
) -> dict[str, str]:
    """The variables of ``launch.sh`` and of the bootstrap script, with the names of the first CacheWarmer.

    Raises:
        ConfigError: part of the bootstrap folder is not named.
    """
    account, _, prefix = launch.broker_url.removeprefix("azure://").partition("/")
    environment = azure_environment()
    values = {
        "STORAGE_ACCOUNT": account,
        "STORAGE_ACCOUNT_RESOURCE_GROUP": launch.storage_resource_group,
        "QUEUE_PREFIX": prefix,
        "BOOTSTRAP_MOUNT_ADDRESS": launch.bootstrap_mount_address.strip("[]"),
        "BOOTSTRAP_MOUNT_OPTIONS": launch.bootstrap_mount_options,
        "BOOTSTRAP_EXPORT_PATH": launch.bootstrap_export_path,
        "BOOTSTRAP_SCRIPT": launch.bootstrap_script_path.lstrip("/"),
        "STORAGE_KEY": key or settings.worker_key,
        "AZURE_CLIENT_ID": client_id,
        "AZURE_STORAGE_ENDPOINT_SUFFIX": environment.endpoint_suffix,
        "CACHEWARMER_ALLOW_INTERNET": "1" if settings.allow_internet else "",
        **launch.environment,
        **proxy,
    }
    if launch.storage_resource_group:  # where the key is looked up
        values["AZURE_SUBSCRIPTION_ID"] = environment.subscription_id
    if values.get("http_proxy") or values.get("https_proxy"):
        values["no_proxy"] = ",".join(one for one in (values.get("no_proxy"), METADATA_ADDRESS) if one)
    for name in ("BOOTSTRAP_MOUNT_ADDRESS", "BOOTSTRAP_EXPORT_PATH", "BOOTSTRAP_SCRIPT"):
        if not values[name]:
            raise ConfigError(f"the workers of a scale set need {name}: where their bootstrap script is")
    return {name: value for name, value in values.items() if value}


def assignments(values: Mapping[str, str]) -> str:
    """Assignments for a shell to read, one a line, quoted so that each value arrives unchanged.

    Raises:
        ConfigError: a value holds a NUL character, which no variable can.
    """
    for name, value in values.items():
        if "\0" in value:
            raise ConfigError(f"{name} can't hold a NUL character")
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
