"""Every exception this package raises on purpose.

One root, so that a caller can catch all of it; ``transient`` tells retry code whether the same call may succeed
later, so that nothing ever has to look into a message. This module imports nothing of the package.
"""

from __future__ import annotations

from typing import ClassVar


class CacheWarmerError(Exception):
    """Something went wrong in cachewarmer."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed when it is made again later."""


# -- what the user asked for ---------------------------------------------------------------------------------------


class UsageError(CacheWarmerError):
    """A flag, an argument or a target does not make sense. Exit code 2."""


class Interrupted(CacheWarmerError):
    """The user ended the program before there was a job to report on. Exit code 130."""


class ConfigError(CacheWarmerError):
    """A setting in the environment or in a configuration file does not make sense."""


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


class MountError(CacheWarmerError):
    """The server would not let us mount an export, or the export is not there."""


class FlavorRefused(MountError):
    """The export wants another security flavour than AUTH_SYS, such as Kerberos: the direct reader can't speak it."""


class NfsStatusError(CacheWarmerError):
    """An NFSv3 procedure answered with a status other than NFS3_OK (RFC 1813 section 2.6)."""

    def __init__(self, status: int, procedure: str, path: str, name: str = "") -> None:
        self.status = status
        self.procedure = procedure
        self.path = path
        self.name = name or f"status {status}"
        super().__init__(f"{procedure} {path}: {self.name}")


class StaleHandle(NfsStatusError):
    """NFS3ERR_STALE or NFS3ERR_BADHANDLE: the file handle is no longer good; resolve the path again."""


# -- what the network did ------------------------------------------------------------------------------------------


class TransportError(CacheWarmerError):
    """A mount address could not be reached, or stopped answering."""

    transient = True


class OwnResourceError(TransportError):
    """This process has no memory, descriptors or threads left for reaching an address: the address has no fault."""


class ConnectFailed(TransportError):
    """No connection could be made."""


class UnknownHost(ConnectFailed):
    """The address is a name that could not be resolved."""


class ReplyTimeout(TransportError):
    """A call was sent and no reply came in time."""


class ConnectionLost(TransportError):
    """The connection ended while calls were in flight."""


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


class FleetUnavailable(FleetError):
    """The provider of the machines could not be reached, is overloaded, or is busy with an earlier request."""

    transient = True


class MetadataAbsent(FleetError):
    """No instance metadata service answers: this is no machine of the cloud, or it may not be reached from here."""


class CapacityError(FleetError):
    """The cloud has no room for the machines that were asked for (size, zone or quota)."""

    transient = True
