"""Every exception this package raises on purpose.

One root, so that a caller can catch all of it; ``transient`` tells retry code whether the same call may succeed later,
so that nothing ever looks into a message. An error keeps its parts until somebody prints it: the problem, what was
being done, to what, at which address, and what may help. Imports only ``paths``.
"""

from __future__ import annotations

import copy
import errno
import json
from dataclasses import asdict
from typing import ClassVar, Self

from cachewarmer.paths import printable, to_bytes, to_text
from cachewarmer.values import dataclass

MAX_FAILURE_BYTES = 3500
"""The longest text of ``Failure.dump``: it has to fit into every broker's record of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The parts of an error as a value: what a job's record keeps, and what the command line renders."""

    problem: str = ""
    """What is wrong, without the parts that follow."""
    doing: str = ""
    """What was being done, such as ``READ`` or ``mounting``."""
    subject: str = ""
    """What the error is about: a path (text as ``paths.to_text`` makes it), an export, a name."""
    address: str = ""
    """The mount address or service that it happened at, as the user wrote it."""
    advice: str = ""
    """What the user may do about it."""

    def __str__(self) -> str:
        return one_line(self.problem, self.doing, self.subject, self.address, self.advice)

    def __bool__(self) -> bool:
        return bool(self.problem)

    def dump(self) -> str:
        """The failure as a text in ASCII that ``load`` reads: the problem alone as it is, more parts as JSON."""
        filled = {name: part for name, part in asdict(self).items() if part}
        if set(filled) <= {"problem"} and self.problem.isascii() and not self.problem.startswith("{"):
            return self.problem[:MAX_FAILURE_BYTES]
        text = json.dumps(filled, separators=(",", ":"))
        if len(text) <= MAX_FAILURE_BYTES:
            return text
        return printable(str(self)).encode("ascii", "backslashreplace").decode()[:MAX_FAILURE_BYTES]

    @classmethod
    def load(cls, text: str) -> Self:
        """The failure in a record: also of an earlier version, which kept one line of text."""
        if text.startswith("{"):
            try:
                values = json.loads(text)
            except (ValueError, RecursionError):
                return cls(problem=text)
            if isinstance(values, dict) and isinstance(values.get("problem"), str):
                names = ("problem", "doing", "subject", "address", "advice")
                return cls(**{name: values[name] for name in names if isinstance(values.get(name), str)})
        return cls(problem=text)


def one_line(problem: str, doing: str = "", subject: str = "", address: str = "", advice: str = "") -> str:
    """The parts of an error in one line: ``ADDRESS: DOING SUBJECT: PROBLEM; ADVICE``, without what is empty."""
    what = f"{doing} {printable(subject)}".strip()
    line = ": ".join(part for part in (address, what, problem) if part)
    return f"{line}; {advice}" if advice else line


class CacheWarmerError(Exception):
    """Something went wrong in cachewarmer.

    ``problem`` says what is wrong; the other parts are left out of it, so that whoever prints the error names each of
    them once. ``str()`` joins them all into one line.
    """

    transient: ClassVar[bool] = False
    """Whether the same call may succeed when it is made again later."""

    def __init__(
        self, problem: str = "", *, doing: str = "", subject: bytes = b"", address: str = "", advice: str = ""
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.doing = doing
        self.subject = subject
        self.address = address
        self.advice = advice

    def __str__(self) -> str:
        return one_line(self.problem, self.doing, to_text(self.subject), self.address, self.advice)

    @property
    def failure(self) -> Failure:
        """The parts as a value that can be stored."""
        return Failure(
            problem=self.problem,
            doing=self.doing,
            subject=to_text(self.subject),
            address=self.address,
            advice=self.advice,
        )

    def fill(self, *, doing: str = "", subject: bytes = b"", address: str = "", advice: str = "") -> Self:
        """This error, with the parts that it does not have yet: what only a caller further up knows."""
        self.doing = self.doing or doing
        self.subject = self.subject or subject
        self.address = self.address or address
        self.advice = self.advice or advice
        return self

    def of_no_file(self) -> Self:
        """A copy that names no path, for what happened to several of them."""
        made = copy.copy(self)
        made.subject = b""
        return made

    @classmethod
    def like(cls, error: CacheWarmerError) -> Self:
        """An error of this kind with the parts of another."""
        return cls(error.problem, doing=error.doing, subject=error.subject, address=error.address, advice=error.advice)

    @classmethod
    def from_failure(cls, failure: Failure) -> Self:
        """An error of this kind with the parts that were stored."""
        return cls(
            failure.problem,
            doing=failure.doing,
            subject=to_bytes(failure.subject),
            address=failure.address,
            advice=failure.advice,
        )


# -- what the user asked for ---------------------------------------------------------------------------------------


class UsageError(CacheWarmerError):
    """A flag, an argument or a target is invalid. Exit code 2."""


class InvalidValue(CacheWarmerError):
    """A value is outside its range. Whoever took it from a user or from a message says which of the two is at fault."""


class Interrupted(CacheWarmerError):
    """The user ended the program before there was a job to report on. Exit code 130."""


class JobFailed(CacheWarmerError):
    """A job that a program waited for has failed as a whole, for the reason that its report has too."""


class ConfigError(CacheWarmerError):
    """A setting in the environment or in a configuration file is invalid."""


# -- what a peer said on the wire ----------------------------------------------------------------------------------


class ProtocolError(CacheWarmerError):
    """The rules of a wire protocol were broken."""


class LocalProtocolError(ProtocolError):
    """We were about to break the protocol: a fault of this program; the connection is still good."""


class RemoteProtocolError(ProtocolError):
    """The server broke the protocol; the connection can't be used any further."""

    transient = True


class RpcRefused(CacheWarmerError):
    """The server understood the call and refused it (RFC 5531 section 9: MSG_DENIED, PROG_UNAVAIL, …)."""


class ProcedureUnavailable(RpcRefused):
    """PROC_UNAVAIL (RFC 5531 section 9): the server has the program and not this procedure."""


class MountError(CacheWarmerError):
    """The server would not let us mount an export, or the export is not there."""


class NotAllowed(MountError):
    """The settings of this service do not allow what a job asks it to read."""


class FlavorRefused(MountError):
    """The export wants another security flavour than AUTH_SYS, such as Kerberos: the direct reader can't speak it."""


class NfsStatusError(CacheWarmerError):
    """An NFSv3 procedure answered with a status other than NFS3_OK (RFC 1813 section 2.6)."""

    def __init__(self, status: int, procedure: str, path: bytes, name: str = "", *, address: str = "") -> None:
        self.status = status
        self.procedure = procedure
        self.name = name or f"status {status}"
        super().__init__(self.name, doing=procedure, subject=path, address=address)

    @property
    def path(self) -> bytes:
        """The path that the procedure was called for."""
        return self.subject

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.status, self.procedure, self.subject, self.name), self.__dict__


class StaleHandle(NfsStatusError):
    """NFS3ERR_STALE or NFS3ERR_BADHANDLE: the file handle is no longer good; resolve the path again."""


# -- what the network did ------------------------------------------------------------------------------------------


class TransportError(CacheWarmerError):
    """A mount address could not be reached, or stopped answering."""

    transient = True


class ConnectFailed(TransportError):
    """No connection could be made."""


class UnknownHost(ConnectFailed):
    """The address is a name that could not be resolved."""


class ReplyTimeout(TransportError):
    """A call was sent and no reply came in time."""


class ConnectionLost(TransportError):
    """The connection ended while calls were in flight."""


class OwnResourceError(TransportError):
    """This process has run out of memory, descriptors or threads of its own: neither the file nor the server is at fault."""


OWN_RESOURCE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
"""What the system calls answer when this process, or this machine, has no more of something."""


def own_resource_error(
    error: BaseException, *, doing: str = "", subject: bytes = b"", address: str = ""
) -> OwnResourceError | None:
    """The error for what this process has run out of, ``error`` being its cause; None: it is something else.

    Of an ``OSError``, of a ``MemoryError``, and of the ``RuntimeError`` of ``Thread.start`` where ``error`` is that.
    """
    advice = "close other programs, or raise the limits of this one"
    if isinstance(error, MemoryError):
        problem = "out of memory"
    elif isinstance(error, OSError) and error.errno in OWN_RESOURCE_ERRNOS:
        problem = error.strerror or errno.errorcode[error.errno]
        if error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "raise the limit of open files (ulimit -n, or LimitNOFILE in the unit)"
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):  # what Thread.start raises for EAGAIN
        problem = "no further thread can be started"
    else:
        return None
    made = OwnResourceError(problem, doing=doing, subject=subject, address=address, advice=advice)
    made.__cause__ = error
    return made


class ProgramChanged(CacheWarmerError):
    """This program was replaced or removed while it ran: parts that it had not loaded yet can't be loaded any more.

    It can't be relied on for any work until it is started again; the work is not at fault.
    """


def program_changed(error: BaseException) -> ProgramChanged | None:
    """The error where a module can't be loaded, ``error`` being its cause; None: it is something else."""
    if not isinstance(error, ImportError):
        return None
    made = ProgramChanged(
        f"{error}: was the program replaced while it ran", advice="start it again: it has handed back its work"
    )
    made.__cause__ = error
    return made


# -- files ---------------------------------------------------------------------------------------------------------


class FileError(CacheWarmerError):
    """One file could not be read; others can. The cause says why."""


class FileVanished(FileError):
    """The file was there at the scan and is gone now."""


# -- brokers and fleets --------------------------------------------------------------------------------------------


class BrokerError(CacheWarmerError):
    """The broker refused what was asked of it."""


class BrokerUnavailable(BrokerError):
    """The broker could not be reached, or is overloaded."""

    transient = True


class BrokerBusy(BrokerUnavailable):
    """Somebody else has held the broker for long: nothing is wrong with it, and it answers when they let go."""


class LeaseLost(BrokerError):
    """The lease ran out, or was taken over: whatever was done under it must not be counted."""


class UnknownJob(BrokerError):
    """The broker has no job of that id."""


class NothingThere(BrokerError):
    """The broker's file, queues or table do not exist, and the caller only wanted to look."""


class DamagedRecord(BrokerError):
    """Something that a broker stored can't be read any more: it was written by hand, or by another program."""


class InvalidMessage(BrokerError):
    """A message on a queue can't be understood; the text says why."""


class InvalidTransition(BrokerError):
    """A job can't go from the state it is in to the one that was asked for."""


class FleetError(CacheWarmerError):
    """The fleet of worker machines could not be changed."""


class FleetDenied(FleetError):
    """The identity that signs in there has no role for what was asked."""


class FleetUnavailable(FleetError):
    """The provider of the machines could not be reached, is overloaded, or is busy with an earlier request."""

    transient = True


class MetadataAbsent(FleetError):
    """No instance metadata service answers: this is not a machine of the cloud, or the service can't be reached from here."""


class CapacityError(FleetError):
    """The cloud has no room for the machines that were asked for (size, zone or quota)."""

    transient = True
