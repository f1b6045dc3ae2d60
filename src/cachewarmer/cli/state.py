"""Where ``warm`` keeps its job: at the chosen broker, or at a temporary one if the user has no place for a file.

A place that was named by an option or a variable is used, or else that is an error. Only the default, which is in the
home directory, can be replaced by a temporary directory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.streams import note
from cachewarmer.config import broker_url_in, environment_broker_url, is_state_home_named, state_directory
from cachewarmer.errors import CacheWarmerError, ConfigError
from cachewarmer.paths import printable


class State:
    """The URL of the broker to use.

    Raises:
        CacheWarmerError: the directory named by ``$XDG_STATE_HOME`` can't be written to, or no directory can.
    """

    def __init__(self, choice: BrokerChoice) -> None:
        self.temporary: Path | None = None
        """The directory that was made because the user's own can't be used; None if there is none."""
        self.url = choice.url or environment_broker_url()
        if self.url:
            return
        try:
            directory = state_directory()
            problem = _problem_of(directory)
        except ConfigError:
            directory, problem = Path("~"), "there is no home directory"
        if problem and is_state_home_named():
            raise CacheWarmerError(
                f"no place to keep the state of the job: {printable(str(directory))}: {problem}",
                advice="make it writable, or unset XDG_STATE_HOME or set it to another directory",
            )
        if problem:
            self.temporary = _temporary(f"{directory}: {problem}")
        self.url = broker_url_in(self.temporary or directory)

    def close(self, *, keep: bool) -> None:
        """Removes the temporary directory, unless ``keep`` says that it holds a job to resume."""
        if self.temporary is not None and not keep:
            shutil.rmtree(self.temporary, ignore_errors=True)


def _problem_of(directory: Path) -> str:
    """Why files can't be kept in a directory, which is made if it does not exist; empty if they can."""
    from cachewarmer.broker.sqlite.files import make_folder

    try:
        make_folder(str(directory))
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(directory, os.W_OK | os.X_OK) else "Permission denied"


def _temporary(problem: str) -> Path:
    try:
        made = Path(tempfile.mkdtemp(prefix="cachewarmer-"))
    except OSError as error:
        raise CacheWarmerError(
            f"no place to keep the state of the job: {problem}, and no temporary directory ({error.strerror or error})",
            advice="set TMPDIR or XDG_STATE_HOME, or give --broker sqlite:///FILE",
        ) from error
    note(f"cachewarmer: {printable(problem)}; keeping the state of the job in {made} until the job is done")
    return made
