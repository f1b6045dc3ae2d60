"""Real servers that many tests share: started on first use, stopped by pid at the end of the run."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.servers.azurite import azurite
from tests.servers.ganesha import GaneshaServer, ganesha
from tests.servers.juicefs import JuiceFs, juicefs
from tests.servers.ports import NO_IMDS

settings.register_profile("any machine", deadline=None)  # how busy the machine is proves nothing
settings.load_profile("any machine")


ORDER = ("conformance", "integration", "e2e", "deploy", "kernel", "unit")
"""What needs much that has to be built comes when that is done; what is quick comes last, so that no process ends long
before the others."""
SLOW_TO_PREPARE = {"deploy", "kernel"}
_preparing = contextlib.ExitStack()


def _room(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Puts the tests in order; in a run of several processes, the first has what they need built from the start."""
    places = {room: place for place, room in enumerate(ORDER)}
    items.sort(key=lambda item: places.get(_room(item), len(ORDER)))
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0" and {_room(item) for item in items} & SLOW_TO_PREPARE:
        from tests.prepare import beside  # only now: it imports what few tests need

        _preparing.enter_context(beside())


def pytest_sessionfinish(session: pytest.Session) -> None:
    _preparing.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows what tests measured, however many processes ran them."""
    reports = [one for some in terminalreporter.stats.values() for one in some if isinstance(one, pytest.TestReport)]
    lines = [
        text
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == "measured"
    ]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or leaves anything in, the state or settings of the user who runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", NO_IMDS)
    for name in ("CACHEWARMER_BROKER", "CACHEWARMER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def nfs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that ``nfs_server`` exports; a test makes a directory of its own in it."""
    root = tmp_path_factory.mktemp("export")
    root.chmod(0o755)  # other users may look, so that what they may not read is a file of ours
    return root


@pytest.fixture(scope="session")
def nfs_server(nfs_root: Path) -> Iterator[GaneshaServer]:
    """NFS-Ganesha, NFSv3, READs up to 1 MiB, any source port, root not squashed."""
    with ganesha(nfs_root) as server:
        yield server


@pytest.fixture(scope="session")
def azurite_connection() -> Iterator[str]:
    """The connection string of an Azurite that the whole run shares: use a queue prefix of your own."""
    with azurite() as connection:
        yield connection


@pytest.fixture(scope="session")
def juicefs_volume() -> Iterator[JuiceFs]:
    """A mounted JuiceFS volume that the whole run shares."""
    with juicefs() as volume:
        yield volume


@pytest.fixture(autouse=True)
def level_of_the_log():
    """What a command that a test runs in this process has set is not left to the next test, which may look at the log."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)
