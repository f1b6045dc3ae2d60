"""A metadata service on loopback, with the documents that Azure publishes: strict about what a client must send."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from aiohttp import web

INSTANCE = {
    "compute": {
        "azEnvironment": "AzurePublicCloud",
        "location": "westus2",
        "name": "farm_3",
        "resourceGroupName": "render",
        "resourceId": "/subscriptions/s1/resourceGroups/render/providers/Microsoft.Compute/virtualMachines/farm_3",
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


class Metadata:
    """What it answers, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.instance = INSTANCE
        self.events: list[dict] = []
        self.incarnation = 1
        self.statuses: list[int] = []
        """Answered first, one each, in place of a document."""
        self.acknowledged: list[str] = []
        self.polls = 0
        self.hangs = False

    def announce(self, event_type: str, *resources: str, event_id: str = "E1") -> None:
        self.incarnation += 1
        self.events.append(
            {
                "EventId": event_id,
                "EventStatus": "Scheduled",
                "EventType": event_type,
                "ResourceType": "VirtualMachine",
                "Resources": list(resources),
                "NotBefore": "Mon, 19 Sep 2026 18:29:47 GMT",
                "Description": "",
                "EventSource": "Platform",
                "DurationInSeconds": -1,
            }
        )

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Metadata") != "true" or "X-Forwarded-For" in request.headers:
            return web.json_response({"error": "Bad request: required metadata header not specified"}, status=400)
        if self.hangs:
            await asyncio.sleep(60)
        if self.statuses:
            return web.json_response({"error": "…"}, status=self.statuses.pop(0))
        version = request.query.get("api-version", "")
        if request.path == "/metadata/instance" and version >= "2021-02-01":
            return web.json_response(self.instance)
        if request.path == "/metadata/scheduledevents" and version == "2020-07-01":
            if request.method == "POST":
                body = await request.json()
                self.acknowledged += [one["EventId"] for one in body["StartRequests"]]
                return web.Response()
            self.polls += 1
            return web.json_response({"DocumentIncarnation": self.incarnation, "Events": self.events})
        return web.json_response({"error": "Bad request: api-version"}, status=400)


@asynccontextmanager
async def metadata():
    """The service, while the body runs."""
    served = Metadata()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()
