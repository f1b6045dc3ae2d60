"""A small Azure on loopback: the resource manager over TLS, the metadata service of each VM, and the VMs themselves.

It runs on a thread of its own, so that a test may wait for processes meanwhile. ``environment`` is what a manager's
process needs to take it for Azure: an endpoint, the certificate to trust, and the metadata service of "its" VM.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from tests.azure_standin.arm import ResourceManager
from tests.azure_standin.imds import Metadata, MetadataService
from tests.azure_standin.machine import Machine, need_machines
from tests.azure_standin.rules import LOCATIONS
from tests.azure_standin.scale_sets import VMS, ScaleSet, ScaleSets, Vm
from tests.servers.need import need
from tests.servers.ports import free_port

T = TypeVar("T")

SUBSCRIPTION = "00000000-0000-0000-0000-00000000beef"
GROUP = "render"
NETWORK = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/network/providers/Microsoft.Network/virtualNetworks/farm"
SUBNET = f"{NETWORK}/subnets/workers"
OTHER_SUBNET = f"{NETWORK}/subnets/spare"
PROVIDERS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
IDENTITY = f"{PROVIDERS}/Microsoft.ManagedIdentity/userAssignedIdentities/warmer"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
ACCOUNT = f"{PROVIDERS}/Microsoft.Storage/storageAccounts/account"
NOTICE_SECONDS = 3.0
"""Between an eviction notice and the end of the machine: 30 s on Azure."""


class Cloud:
    """``arm``, ``sets`` and ``metadata`` are its parts; what a test sets there takes effect at once."""

    def __init__(self, environment: Mapping[str, str], exports: Mapping[str, Path], boot: bool) -> None:
        self.vm_environment = dict(environment)
        """Variables of every process on a VM, as an image might set them."""
        self.exports = dict(exports)
        """What the VMs can mount: ``ADDRESS:/PATH`` and the directory of this machine behind it."""
        self.metadata = MetadataService()
        self.sets = ScaleSets(self._boot if boot else None)
        self.arm = ResourceManager(SUBSCRIPTION, [GROUP, "network"], self.sets, self.metadata)
        self.notice_seconds = NOTICE_SECONDS
        self._metadata_port, self._arm_port = free_port(), free_port()
        self._loop = asyncio.new_event_loop()
        self._place = Path(tempfile.mkdtemp(prefix="azure-"))
        self.certificate = self._place / "certificate"
        self._describe()

    @property
    def environment(self) -> dict[str, str]:
        """Of the manager, on its own VM."""
        return {
            "AZURE_RESOURCE_MANAGER_ENDPOINT": f"https://127.0.0.1:{self._arm_port}",
            "SSL_CERT_FILE": str(self.certificate),
            **self._metadata_of("manager"),
        }

    def _metadata_of(self, name: str) -> dict[str, str]:
        address = f"http://127.0.0.1:{self._metadata_port}/vm/{name}"
        return {"CACHEWARMER_IMDS_URL": address, "AZURE_POD_IDENTITY_AUTHORITY_HOST": address}

    def _describe(self) -> None:
        """The manager's VM with its network interface, in a subnet, with a user-assigned identity."""
        self.arm.subnets |= {SUBNET, OTHER_SUBNET}
        for subnet, prefix in ((SUBNET, "10.0.1.0/24"), (OTHER_SUBNET, "10.0.2.0/28")):
            self.arm.others[subnet] = {
                "id": subnet,
                "name": subnet.rpartition("/")[2],
                "properties": {"addressPrefix": prefix, "ipConfigurations": [{"id": "manager-nic/ip"}]},
            }
        self.arm.identities[IDENTITY] = {"clientId": CLIENT_ID, "principalId": "0", "tenantId": "0"}
        interface = f"{PROVIDERS}/Microsoft.Network/networkInterfaces/manager-nic"
        self.arm.others[interface] = {
            "id": interface,
            "name": "manager-nic",
            "location": LOCATIONS[0],
            "properties": {
                "primary": True,
                "ipConfigurations": [{"name": "ip", "properties": {"primary": True, "subnet": {"id": SUBNET}}}],
            },
        }
        machine = f"{PROVIDERS}/{VMS}/manager"
        self.arm.others[machine] = {
            "id": machine,
            "name": "manager",
            "location": LOCATIONS[0],
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {"clientId": CLIENT_ID}}},
            "properties": {
                "networkProfile": {"networkInterfaces": [{"id": interface, "properties": {"primary": True}}]}
            },
        }
        self.metadata.machines["manager"] = Metadata(_about("manager", machine, ""), [{"clientId": CLIENT_ID}])

    def _boot(self, vm: Vm, found: ScaleSet, custom_data: bytes) -> Machine:
        identity = found.record.get("identity") or {}
        held = identity.get("userAssignedIdentities", {})
        identities = [{"clientId": self.arm.identities[one]["clientId"]} for one in held]
        if own := identity.get("principalId"):
            identities.append({"clientId": own})
        vm_id = f"{PROVIDERS}/{VMS}/{vm.name}"
        self.metadata.machines[vm.name] = Metadata(_about(vm.name, vm_id, found.name), identities)
        environment = self.vm_environment | self._metadata_of(vm.name)
        machine = Machine(vm.computer, custom_data, environment=environment, exports=self.exports)
        machine.start()
        return machine

    # -- for tests -------------------------------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the cloud's own loop."""
        return self.begin(work).result(60)

    def begin(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """The same, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def vms(self) -> list[Vm]:
        """Those there are now."""
        return [vm for found in list(self.sets.sets.values()) for vm in list(found.vms.values())]

    async def evict(self, vm: Vm) -> bool:
        """Announces the end of a VM, and is the end of it after the notice, or as soon as it says that it is ready.

        Returns whether it said so.
        """
        found = next(one for one in self.sets.sets.values() if vm.name in one.vms)
        metadata = self.metadata.machines.get(vm.name)
        if metadata is not None:
            metadata.announce("Preempt", vm.name, self.notice_seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(metadata.acknowledged.wait(), self.notice_seconds)
        await self.sets.evicted(found, vm)
        return metadata is not None and metadata.acknowledged.is_set()

    # -- the thread ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serves until the block ends; then every VM is killed."""
        context = self._tls()
        thread = threading.Thread(target=self._loop.run_forever, name="azure", daemon=True)
        thread.start()
        try:
            self.do(self._serve(context))
            yield
        finally:
            self.do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()
            shutil.rmtree(self._place, ignore_errors=True)

    def _tls(self) -> ssl.SSLContext:
        need(shutil.which("openssl"), "openssl is not installed")
        key = self._place / "key"
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subprocess.run(
            ["openssl", "req", *kind, *names, "-keyout", key, "-out", self.certificate], check=True, capture_output=True
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        return context

    async def _serve(self, context: ssl.SSLContext) -> None:
        self._runners = []
        for part, port, tls in ((self.arm, self._arm_port, context), (self.metadata, self._metadata_port, None)):
            app = web.Application()
            part.routes(app)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
            self._runners.append(runner)

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self.sets.close()
        await asyncio.sleep(0)


def _about(name: str, vm_id: str, scale_set: str) -> dict[str, Any]:
    """The document of ``/metadata/instance``."""
    return {
        "compute": {
            "azEnvironment": "AzurePublicCloud",
            "location": LOCATIONS[0],
            "name": name,
            "resourceGroupName": GROUP,
            "resourceId": vm_id,
            "subscriptionId": SUBSCRIPTION,
            "tagsList": [],
            "vmId": "22222222-2222-2222-2222-222222222222",
            "vmScaleSetName": scale_set,
            "zone": "",
        },
        "network": {
            "interface": [
                {
                    "ipv4": {
                        "ipAddress": [{"privateIpAddress": "10.0.1.4", "publicIpAddress": ""}],
                        "subnet": [{"address": "10.0.1.0", "prefix": "24"}],
                    },
                    "ipv6": {"ipAddress": []},
                    "macAddress": "000D3AF806EC",
                }
            ]
        },
    }


@contextlib.contextmanager
def azure(
    *, boot: bool = False, environment: Mapping[str, str] | None = None, exports: Mapping[str, Path] | None = None
) -> Iterator[Cloud]:
    """A cloud until the block ends. With ``boot``, a machine runs behind each VM."""
    if boot:
        need_machines()
    cloud = Cloud(environment or {}, exports or {}, boot)
    with cloud.running():
        yield cloud
