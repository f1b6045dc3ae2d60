"""Azure's Instance Metadata Service: what a VM can find out about itself, and about the events scheduled for it.

Plain HTTP to a link-local address that only this VM reaches, never through a proxy, with the header ``Metadata: true``.
REST reference: "Azure Instance Metadata Service" (instance) and "Scheduled Events for Linux VMs" (scheduledevents).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cachewarmer.azure.endpoints import azure_environment
from cachewarmer.errors import FleetError, FleetUnavailable, MetadataAbsent
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import aiohttp

INSTANCE_VERSION = "2021-02-01"
EVENTS_VERSION = "2020-07-01"
CONNECT_SECONDS = 2.0
"""Timeout of connecting: on a VM the service answers at once; elsewhere packets to its address may be lost."""
INSTANCE_SECONDS = 10.0
EVENTS_SECONDS = 150.0
"""Timeout of a request for events: the first one enables them for the VM, which takes up to two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The VM that asks, as ``/metadata/instance`` describes it; what the service leaves out is empty."""

    name: str
    """Its name in the resource manager, and in the ``Resources`` of a scheduled event."""
    resource_id: str
    vm_id: str = ""
    location: str = ""
    subscription_id: str = ""
    resource_group: str = ""
    scale_set: str = ""
    """The name of the scale set that it belongs to; empty: none."""
    zone: str = ""
    environment: str = ""
    """The cloud: ``AzurePublicCloud``, ``AzureUSGovernmentCloud``, ``AzureChinaCloud``, …"""
    tags: Mapping[str, str] = field(default_factory=dict)
    private_addresses: tuple[str, ...] = ()
    """IPv4 addresses of its interfaces, the primary one first; only the resource manager knows the interfaces' ids."""
    subnet_prefixes: tuple[str, ...] = ()
    """The subnets of these addresses, such as ``10.0.1.0/24``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEvent:
    """An event that is scheduled for this VM or others of its group."""

    event_id: str
    event_type: str
    """``Freeze``, ``Reboot``, ``Redeploy``, ``Preempt`` or ``Terminate``."""
    resources: tuple[str, ...] = ()
    """Names of the VMs that it affects."""
    status: str = ""
    """``Scheduled`` or ``Started``."""
    not_before: str = ""
    """The earliest time at which it may start (RFC 1123, UTC); empty once it has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """An answer of ``/metadata/scheduledevents``."""

    incarnation: int
    """A number that changes whenever the events change (``DocumentIncarnation``)."""
    events: tuple[ScheduledEvent, ...] = ()


class Imds:
    """A client of the metadata service. Use it as an async context manager, or ``close`` it.

    ``base_url`` is the URL of the service; empty: the one that the environment names, else Azure's own.

    Raises (every method): MetadataAbsent: nothing answers there. FleetUnavailable: the service is overloaded, or did
    not answer in time. FleetError: it refused, or its answer is invalid.
    """

    def __init__(self, base_url: str = "", *, connect_seconds: float = CONNECT_SECONDS) -> None:
        self.base_url = (base_url or azure_environment().imds_url).rstrip("/")
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Imds {self.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def instance(self) -> Instance:
        """The VM that this process runs on (``GET /metadata/instance``)."""
        answer = await self._call("GET", "instance", INSTANCE_VERSION, INSTANCE_SECONDS)
        compute, network = _table(answer, "compute"), answer.get("network")
        addresses, prefixes = _addresses(network if isinstance(network, dict) else {})
        tags = {
            str(tag.get("name", "")): str(tag.get("value", ""))
            for tag in compute.get("tagsList") or []
            if isinstance(tag, dict)
        }
        return Instance(
            name=_text(compute, "name"),
            resource_id=_text(compute, "resourceId"),
            vm_id=_text(compute, "vmId"),
            location=_text(compute, "location"),
            subscription_id=_text(compute, "subscriptionId"),
            resource_group=_text(compute, "resourceGroupName"),
            scale_set=_text(compute, "vmScaleSetName"),
            zone=_text(compute, "zone"),
            environment=_text(compute, "azEnvironment"),
            tags=tags,
            private_addresses=addresses,
            subnet_prefixes=prefixes,
        )

    async def scheduled_events(self) -> Schedule:
        """The events scheduled for this VM and others of its group (``GET /metadata/scheduledevents``)."""
        answer = await self._call("GET", "scheduledevents", EVENTS_VERSION, EVENTS_SECONDS)
        incarnation, events = answer.get("DocumentIncarnation"), answer.get("Events")
        if not isinstance(incarnation, int) or not isinstance(events, list):
            raise FleetError(f"the metadata service at {self.base_url} sent no document of scheduled events")
        return Schedule(incarnation=incarnation, events=tuple(_event(one) for one in events if isinstance(one, dict)))

    async def acknowledge(self, event_ids: Sequence[str]) -> None:
        """Approves events (``POST /metadata/scheduledevents``): they may start now, for every VM that they name."""
        body = {"StartRequests": [{"EventId": one} for one in event_ids]}
        await self._call("POST", "scheduledevents", EVENTS_VERSION, INSTANCE_SECONDS, body)

    async def _call(self, method: str, what: str, version: str, seconds: float, body: Any = None) -> dict[str, Any]:
        import aiohttp  # noqa: PLC0415  # slow to import, and optional

        if self._session is None:
            # trust_env stays off: a proxy would answer for its own machine, if at all.
            self._session = aiohttp.ClientSession(headers={"Metadata": "true"})
        url = f"{self.base_url}/metadata/{what}"
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=self._connect_seconds)
        try:
            async with self._session.request(
                method, url, params={"api-version": version}, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                text = await response.text()
                if response.status in (410, 429) or response.status >= 500:  # the codes it asks to try again after
                    raise FleetUnavailable(f"the metadata service at {url} answered {response.status}")
                if response.status != 200:
                    raise FleetError(f"the metadata service at {url} answered {response.status}: {text[:200]}")
                answer = await response.json(content_type=None) if text.strip() else {}
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise MetadataAbsent(
                f"no instance metadata service answers at {self.base_url}: this is not an Azure VM, or a firewall closes it"
            ) from error
        except TimeoutError as error:
            raise FleetUnavailable(f"the metadata service at {url} did not answer in {seconds:.0f} s") from error
        except aiohttp.ClientError as error:
            raise FleetUnavailable(f"the metadata service at {url}: {error}") from error
        except ValueError as error:
            raise FleetError(f"the metadata service at {url} sent no JSON") from error
        if not isinstance(answer, dict):
            raise FleetError(f"the metadata service at {url} sent no JSON object")
        return answer


def _table(answer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = answer.get(key)
    if not isinstance(value, dict):
        raise FleetError(f"the metadata service's answer has no {key!r}")
    return value


def _text(table: Mapping[str, Any], key: str) -> str:
    return str(table.get(key) or "")


def _addresses(network: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    addresses: list[str] = []
    prefixes: list[str] = []
    for interface in network.get("interface") or []:
        ipv4 = interface.get("ipv4") or {}
        addresses += [_text(one, "privateIpAddress") for one in ipv4.get("ipAddress") or []]
        prefixes += [f"{_text(one, 'address')}/{_text(one, 'prefix')}" for one in ipv4.get("subnet") or []]
    return tuple(addresses), tuple(prefixes)


def _event(raw: Mapping[str, Any]) -> ScheduledEvent:
    return ScheduledEvent(
        event_id=_text(raw, "EventId"),
        event_type=_text(raw, "EventType"),
        resources=tuple(str(one) for one in raw.get("Resources") or []),
        status=_text(raw, "EventStatus"),
        not_before=_text(raw, "NotBefore"),
    )
