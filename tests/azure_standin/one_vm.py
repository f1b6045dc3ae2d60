"""The metadata service as one VM sees it, alone on loopback, with what may go wrong there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.azure_standin.imds import Metadata, MetadataService

NAME = "farm_3"
INSTANCE = {
    "compute": {
        "azEnvironment": "AzurePublicCloud",
        "location": "westus2",
        "name": NAME,
        "resourceGroupName": "render",
        "resourceId": f"/subscriptions/s1/resourceGroups/render/providers/Microsoft.Compute/virtualMachines/{NAME}",
        "subscriptionId": "s1",
        "tagsList": [{"name": "owner", "value": "td"}, {"name": "empty", "value": ""}],
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "vmScaleSetName": "farm",
        "zone": "",
    },
    "network": {
        "interface": [
            {
                "macAddress": "0011AAFFBB22",
                "ipv4": {
                    "ipAddress": [{"privateIpAddress": "10.144.133.132", "publicIpAddress": ""}],
                    "subnet": [{"address": "10.144.133.128", "prefix": "26"}],
                },
                "ipv6": {"ipAddress": []},
            }
        ]
    },
}


class Vm(Metadata):
    """What the VM ``NAME`` sees; ``url`` is where."""

    def __init__(self) -> None:
        super().__init__(INSTANCE, [])
        self.url = ""
        self.statuses: list[int] = []
        """Answered first, one each, in place of a document."""
        self.hangs = False

    @property
    def started(self) -> list[str]:
        """The events that were acknowledged."""
        return [event["EventId"] for event in self.events if event["EventStatus"] == "Started"]

    @web.middleware
    async def misfortune(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.hangs:
            await asyncio.sleep(60)
        if self.statuses:
            return web.json_response({"error": "as the test wants it"}, status=self.statuses.pop(0))
        response: web.StreamResponse = await handler(request)
        return response


@asynccontextmanager
async def one_vm() -> AsyncIterator[Vm]:
    """The service, while the body runs."""
    vm, service = Vm(), MetadataService()
    service.machines[NAME] = vm
    application = web.Application(middlewares=[vm.misfortune])
    service.routes(application)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vm.url = f"http://127.0.0.1:{runner.addresses[0][1]}/vm/{NAME}"
    try:
        yield vm
    finally:
        await runner.cleanup()
