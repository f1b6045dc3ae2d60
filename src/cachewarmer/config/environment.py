"""The environment variables that this process uses, and those that other processes get. Azure's own are in ``azure``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cachewarmer.config.settings import NfsSettings
from cachewarmer.errors import ConfigError
from cachewarmer.wire import MAX_ID

WIRE_IDS = {"uid": "CACHEWARMER_NFS_UID", "gid": "CACHEWARMER_NFS_GID", "gids": "CACHEWARMER_NFS_GIDS"}
"""Settings of [nfs] that a service's environment gives where its file does not: who it is to the NFS server."""


def wire_ids(environment: Mapping[str, str], said: Collection[str] = ()) -> dict[str, Any]:
    """What of these variables is set, by setting, but for the settings in ``said``, which a file gives.

    Raises:
        ConfigError: a variable is not a number, or holds one that can't travel in a message.
    """
    made: dict[str, Any] = {}
    for key, variable in WIRE_IDS.items():
        text = environment.get(variable, "")
        if not text or key in said:
            continue
        parts = text.split(",") if key == "gids" else [text]
        if not all(part.strip().isdecimal() and int(part) <= MAX_ID for part in parts):
            raise ConfigError(f"{variable} is {text!r}: must be a number from 0 to {MAX_ID}")
        numbers = tuple(int(part) for part in parts)
        made[key] = numbers if key == "gids" else numbers[0]
    return made


def wire_environment(settings: NfsSettings) -> dict[str, str]:
    """The variables that give another process the same user and groups on the wire."""
    values = {"uid": settings.uid, "gid": settings.gid, "gids": ",".join(map(str, settings.gids)) or None}
    return {WIRE_IDS[key]: str(value) for key, value in values.items() if value is not None}


def bootstrap_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """``BOOTSTRAP_SHA256``, where the manager's installation left it: what the workers' bootstrap folder is to be."""
    known = (os.environ if environment is None else environment).get("BOOTSTRAP_SHA256")
    return {"BOOTSTRAP_SHA256": known} if known else {}


def proxies(environment: dict[str, str] | None = None) -> dict[str, str]:
    """The proxies that this process uses, by the variable of each (``http_proxy``, ``https_proxy``, ``no_proxy``).

    Where only the upper-case variable is set, it counts; what is not set or empty is left out.
    """
    values = os.environ if environment is None else environment
    found = {name: values.get(name) or values.get(name.upper(), "") for name in PROXY_VARIABLES}
    return {name: value for name, value in found.items() if value}


PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


HTTP_TOKEN = "CACHEWARMER_HTTP_TOKEN"  # noqa: S105  # its name
"""The variable with the token of the page: for the process that serves it, and no other."""


def child_environment(broker_url: str = "") -> dict[str, str]:
    """What processes that we start see: all of ours but the lines to our own service manager.

    ``broker_url``: the broker that they use. It may hold a password, and a command line can be read by every user.
    """
    said = {"CACHEWARMER_BROKER": broker_url} if broker_url else {}
    own = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", HTTP_TOKEN}
    # Our single-file program has to unpack itself again, since its files go away with us.
    return {name: value for name, value in os.environ.items() if name not in own} | {
        "PYINSTALLER_RESET_ENVIRONMENT": "1",
        **said,
    }


SHARED_PREFIXES = ("CACHEWARMER_", "AZURE_", "PG", "KRB5", "SSL_CERT_")
"""Prefixes of the variables that say how to reach a broker, and how a worker reads."""


def shared_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What workers on other machines get of this process's variables, proxies included."""
    values = os.environ if environment is None else environment
    shared = {name: value for name, value in values.items() if name.startswith(SHARED_PREFIXES) and name != HTTP_TOKEN}
    return shared | {name: value for name, value in values.items() if name.lower() in PROXY_VARIABLES}


def cluster_environment() -> dict[str, str]:
    """What the commands of a cluster's scheduler get of ours: not what changes their answers, nor secrets."""
    names = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_JWT")
    return {name: os.environ[name] for name in names if name in os.environ}


def vmss_password(environment: dict[str, str] | None = None) -> str:
    """``VMSS_PASSWORD``: the fleet's password where no flag says it, so that it needs no command line."""
    return (os.environ if environment is None else environment).get("VMSS_PASSWORD", "")


def http_token(environment: dict[str, str] | None = None) -> str:
    """``CACHEWARMER_HTTP_TOKEN``: what requests to the page have to name; empty where it is not set."""
    return (os.environ if environment is None else environment).get(HTTP_TOKEN, "")


def state_directory() -> Path:
    """The directory of the embedded broker's file: ``$XDG_STATE_HOME/cachewarmer``, else
    ``~/.local/state/cachewarmer``.

    Raises:
        ConfigError: the user has no home directory.
    """
    if is_state_home_named():
        return Path(os.environ["XDG_STATE_HOME"]) / "cachewarmer"
    try:
        return Path.home() / ".local" / "state" / "cachewarmer"
    except RuntimeError as error:
        raise ConfigError(
            "this user has no home directory to keep jobs in", advice="set XDG_STATE_HOME, or name a broker: --broker"
        ) from error


def is_state_home_named() -> bool:
    """Whether ``$XDG_STATE_HOME`` says where programs keep their state; a relative path says nothing, by that standard."""
    return os.path.isabs(os.environ.get("XDG_STATE_HOME", ""))


def default_broker_url() -> str:
    """The broker when none is named: the environment's, else SQLite in the user's state directory."""
    return environment_broker_url() or broker_url_in(state_directory())


def environment_broker_url() -> str:
    """``CACHEWARMER_BROKER``; empty where it is not set."""
    return os.environ.get("CACHEWARMER_BROKER", "")


def broker_url_in(directory: Path) -> str:
    """The URL of the embedded broker with its file in a directory."""
    return f"sqlite:///{directory / 'cachewarmer.db'}"


def process_name() -> str:
    """What a manager or worker is called unless it is given a name: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def default_processes() -> int:
    """Reader processes for this machine: half of its cores, between 1 and 4."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(4, cores // 2))
