"""Sets up logging: where messages go, and their format and level."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

from cachewarmer.about import parts_of
from cachewarmer.amounts import counted
from cachewarmer.cli import failures, streams
from cachewarmer.cli.colours import Shade, paint
from cachewarmer.cli.failures import one_line, traceback_text
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.text import CLEAR_LINE
from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.paths import printable
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

NOISY = ("asyncio", "urllib3", "aiohttp")
"""Libraries of which only warnings and errors matter."""
PAGE, STATS = "cachewarmer.cli.page", "cachewarmer.cli.stats"
"""The loggers of lines that a user has asked for. Every command shows them on standard error, but those of ``--stats``
only if there is no log file.
"""
KEYS = frozenset({"time", "level", "logger", "pid", "message", "error", "traceback"})
"""The fixed keys in a line of JSON, which the parts of a message can't replace."""

_process: dict[str, str] = {}
"""Keys that are in every line of JSON: ``worker`` or ``manager``, with the name of this process."""
_handlers: list[logging.Handler] = []
"""The handlers that are set up in this process."""


def this_is(**name: str) -> None:
    """Adds the name of this process to every line of JSON from now on, such as ``worker="node7/1234"``."""
    _process.update(name)


@dataclass(frozen=True, slots=True)
class Logging:
    """How messages are shown. This value is also passed to further processes of the same command.

    A service logs its progress to ``file``, or to standard error if there is no file. Other commands write warnings to
    standard error, and also log their progress to ``file``.
    """

    verbose: bool = False
    quiet: bool = False
    service: bool = False
    format: str = ""
    """``json``; anything else: text."""
    file: str = ""
    option: str = "--log-file"
    """The option or setting that named the file, for messages."""

    @classmethod
    def of(cls, output: Output, *, service: bool = False) -> Logging:
        """The logging of a command with these options."""
        return cls(output.verbose, output.quiet, service, output.log_format, output.log_file)

    def begin(self) -> None:
        """Sets up logging in this process. What a service's options leave open is taken from ``[log]`` in the settings.

        Raises:
            UsageError: the log file can't be opened.
            ConfigError: the settings can't be read.
        """
        self._set_up()
        if self.service and not (self.format and self.file):
            from cachewarmer.config import load_settings

            said = load_settings().log  # its warnings go where the options say
            asked = replace(self, format=self.format or said.format)
            if said.file and not self.file:
                asked = replace(asked, file=said.file, option="[log] file")
            if asked != replace(self, format=self.format or "text"):
                asked._set_up()  # noqa: SLF001  # its own kind

    def _set_up(self) -> None:
        streams.prepare()
        file = _handler(LogFile(self.file, self.option), self._for_file(), self._course) if self.file else None
        handlers = [one for one in (file, None if self.service and file else self._to_stderr()) if one is not None]
        logging.raiseExceptions = False
        root = logging.getLogger()
        root.setLevel(min(one.level for one in handlers))
        for earlier in _handlers:
            root.removeHandler(earlier)
        _handlers[:] = handlers
        for one in handlers:
            root.addHandler(one)
        self._hush_libraries()
        instead = self.format == "json" and file is None
        failures.logged = partial(_tell, file or handlers[0], instead=instead) if file or instead else None

    def _hush_libraries(self) -> None:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
        if not self.verbose:
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            if not self.service:
                # Hides errors of tasks that end after the command's own error, which is the one that counts.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    @property
    def _course(self) -> int:
        """The level of a log that shows the progress of the command."""
        if self.verbose:
            return logging.DEBUG
        return logging.ERROR if self.quiet and self.service else logging.INFO

    def _for_file(self) -> logging.Formatter:
        return JsonLine(verbose=self.verbose) if self.format == "json" else TimedLine(verbose=self.verbose)

    def _to_stderr(self) -> logging.Handler:
        told = self.service or self.verbose
        level = self._course if told else logging.ERROR if self.quiet else logging.WARNING
        formatter: logging.Formatter
        if self.format == "json" and not self.file:
            formatter = JsonLine(verbose=self.verbose)
        else:
            form = "%(levelname)s %(name)s: %(message)s" if self.service else "%(message)s"
            # On a terminal, the progress line must be cleared first.
            before = CLEAR_LINE if not self.service and streams.on_terminal(sys.stderr) else ""
            formatter = OneLine(form, before, verbose=self.verbose)
        if told or self.quiet:
            handler = _handler(sys.stderr, formatter, level)
        else:
            handler = _handler(sys.stderr, formatter, logging.INFO)
            shown = (PAGE,) if self.file else (PAGE, STATS)
            handler.addFilter(lambda record: record.levelno >= level or record.name in shown)
        if not told:
            # The command itself ends with a job's failure.
            handler.addFilter(lambda record: not record.name.startswith("cachewarmer.manager"))
        return handler


def _handler(stream: Any, formatter: logging.Formatter, level: int) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.setLevel(level)
    return handler


def _tell(handler: logging.Handler, text: str, warning: bool, *, instead: bool) -> bool:
    """Writes the outcome of the command to the log. Returns whether that replaces the line on standard error."""
    level = logging.WARNING if warning else logging.ERROR
    handler.handle(logging.LogRecord("cachewarmer", level, __file__, 0, "%s", (text,), None))
    return instead


class OneLine(logging.Formatter):
    """One line for each message, whatever characters are in its paths or texts; a traceback follows on separate lines.

    ``before`` is written first, to clear a line on a terminal. With ``verbose``, all errors have tracebacks; otherwise
    only internal errors do.
    """

    def __init__(self, form: str, before: str = "", *, verbose: bool) -> None:
        super().__init__(form)
        self._before = before
        self._verbose = verbose

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        line = printable(super().formatMessage(record))
        if record.levelno >= logging.WARNING:
            # If the line begins with its level, as for a service, only this word is coloured, else the whole message.
            head, blank, rest = line.partition(" ") if line.startswith(record.levelname) else (line, "", "")
            shade = Shade.BAD if record.levelno >= logging.ERROR else Shade.WARNING
            line = f"{paint(head, shade, sys.stderr)}{blank}{rest}"
        return self._before + line

    def formatException(self, ei: Any) -> str:  # noqa: N802  # the name is logging's
        return _traceback(ei[1], verbose=self._verbose) or one_line(ei[1])


class TimedLine(OneLine):
    """The same for a file: with the time, and without colours."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s", verbose=verbose)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return f"{rfc3339(record.created)} {printable(logging.Formatter.formatMessage(self, record))}"


class JsonLine(logging.Formatter):
    """One JSON object for each message; docs/logs.md has its keys. It is in ASCII, which any reader accepts."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": printable(record.getMessage()),
        }
        parts = {**_process, **_address_of(record), **parts_of(record)}
        line |= {key: _plain(value) for key, value in parts.items() if key not in KEYS}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = one_line(error)
            traceback = _traceback(error, verbose=self._verbose)
            line |= {"traceback": traceback} if traceback else {}
        return json.dumps(line, separators=(",", ":"), default=str)


def _address_of(record: logging.LogRecord) -> dict[str, str]:
    """The address, as a part of the message, if an error in the message names one."""
    errors = [one for one in record.args if isinstance(one, CacheWarmerError)] if isinstance(record.args, tuple) else ()
    return next(({"address": one.failure.address} for one in errors if one.failure.address), {})


def _plain(value: Any) -> Any:
    """A part of a message in a form that a line of JSON can contain."""
    if isinstance(value, bytes | str):
        return printable(value)
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def _traceback(error: BaseException, *, verbose: bool) -> str:
    """The traceback of an internal error, or with ``verbose`` of any error; else empty."""
    ours = isinstance(error, CacheWarmerError | OSError | MemoryError)
    return traceback_text(error) if verbose or not ours else ""


def rfc3339(seconds: float) -> str:
    """Unix seconds in the format of RFC 3339, in UTC, with milliseconds."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03d}Z"


class LogFile:
    """A file that lines are appended to, each with one write.

    So several processes can write to it, and a logrotate that copies and truncates it does no harm. When it can't be
    written any more, a message on standard error says so once, and another one when it can be written again.
    """

    def __init__(self, path: str, option: str = "--log-file") -> None:
        """Raises ``UsageError`` if the file can't be opened."""
        self._name = printable(f"{option} {path}")
        self._lost = 0
        self._torn = False
        """Whether the last line in the file is incomplete."""
        try:
            # Without O_NONBLOCK, opening a FIFO that nobody reads would block forever.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            self._descriptor = os.open(path, flags, 0o666)
            os.set_blocking(self._descriptor, True)
        except (OSError, ValueError) as error:
            raise UsageError(f"{self._name}: {getattr(error, 'strerror', None) or error}") from error

    def write(self, text: str) -> int:
        """Appends lines; what can't be written is dropped."""
        try:
            self._put(b"\n" * self._torn + text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                streams.note(f"{self._name}: {error.strerror}: lines are lost until it can be written again")
            return len(text)
        if self._lost:
            lost, self._lost = self._lost, 0
            streams.note(f"{self._name}: it can be written again")
            log.warning("%s missing before the line above: they could not be written", counted(lost, "line"))
        return len(text)

    def _put(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            written = os.write(self._descriptor, left)
            left = left[written:]
            self._torn = bool(left)

    def flush(self) -> None:
        """Does nothing, because nothing is buffered."""
