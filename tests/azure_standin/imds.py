"""The instance metadata service of every VM: who it is, its tokens, and what is about to happen to it.

Each VM has an address of its own, ``http://127.0.0.1:PORT/vm/NAME``, in place of the link-local one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from email.utils import formatdate
from typing import Any

from aiohttp import web

INSTANCE_VERSIONS = {"2020-09-01", "2021-01-01", "2021-02-01", "2021-12-13", "2023-07-01"}
EVENT_VERSIONS = {"2019-08-01", "2020-07-01"}
TOKEN_VERSIONS = {"2018-02-01", "2019-08-01"}


class Metadata:
    """What one VM sees."""

    def __init__(self, about: dict[str, Any], identities: list[dict[str, str]]) -> None:
        self.about = about
        self.identities = identities
        self.incarnation = 1
        self.events: list[dict[str, Any]] = []
        self.acknowledged = asyncio.Event()
        self.asked = 0
        """How often it was asked for events."""

    def announce(self, kind: str, name: str, notice_seconds: float) -> dict[str, Any]:
        """Puts an event into the document."""
        event = {
            "EventId": str(uuid.uuid4()).upper(),
            "EventType": kind,
            "ResourceType": "VirtualMachine",
            "Resources": [name],
            "EventStatus": "Scheduled",
            "NotBefore": formatdate(time.time() + notice_seconds, usegmt=True),
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        self.events.append(event)
        self.incarnation += 1
        return event


class MetadataService:
    """The service of all VMs; at any other address nobody is answered."""

    def __init__(self) -> None:
        self.machines: dict[str, Metadata] = {}
        self.tokens: dict[str, str] = {}
        """Every token handed out, and the client id it is for."""

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/vm/{name}/metadata/instance", self._instance)
        app.router.add_get("/vm/{name}/metadata/identity/oauth2/token", self._token)
        app.router.add_get("/vm/{name}/metadata/scheduledevents", self._events)
        app.router.add_post("/vm/{name}/metadata/scheduledevents", self._start)

    def _machine(self, request: web.Request, versions: set[str]) -> Metadata:
        if request.match_info["name"] not in self.machines:
            raise _refused(404, "Not found")
        if request.headers.get("Metadata", "").lower() != "true" or "X-Forwarded-For" in request.headers:
            raise _refused(400, "Bad request. Required metadata header not specified")
        if request.query.get("api-version") not in versions:
            raise _refused(400, f"Bad request. api-version is invalid or was not specified in the request: {versions}")
        return self.machines[request.match_info["name"]]

    async def _instance(self, request: web.Request) -> web.Response:
        return web.json_response(self._machine(request, INSTANCE_VERSIONS).about)

    async def _token(self, request: web.Request) -> web.Response:
        machine = self._machine(request, TOKEN_VERSIONS)
        wanted = request.query.get("client_id")
        held = [one for one in machine.identities if wanted in (None, one["clientId"])]
        if len(held) != 1:
            why = "Identity not found" if not held else "Multiple user assigned identities exist, please specify"
            return web.json_response({"error": "invalid_request", "error_description": why}, status=400)
        now = int(time.time())
        resource = request.query["resource"]
        claims = {"aud": resource, "exp": now + 86400, "appid": held[0]["clientId"], "nonce": uuid.uuid4().hex}
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({}, claims, {})
        )
        self.tokens[token] = held[0]["clientId"]
        return web.json_response(
            {
                "access_token": token,
                "client_id": held[0]["clientId"],
                "expires_in": "86400",
                "expires_on": str(now + 86400),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    async def _events(self, request: web.Request) -> web.Response:
        machine = self._machine(request, EVENT_VERSIONS)
        machine.asked += 1
        return web.json_response({"DocumentIncarnation": machine.incarnation, "Events": machine.events})

    async def _start(self, request: web.Request) -> web.Response:
        machine = self._machine(request, EVENT_VERSIONS)
        wanted = {one["EventId"] for one in (await request.json())["StartRequests"]}
        known = {one["EventId"] for one in machine.events}
        if not wanted or not wanted <= known:
            raise _refused(400, "Bad request. No such event")
        for one in machine.events:
            if one["EventId"] in wanted:
                one["EventStatus"], one["NotBefore"] = "Started", ""
        machine.incarnation += 1
        machine.acknowledged.set()
        return web.Response()


def _refused(status: int, why: str) -> web.HTTPException:
    kind = {400: web.HTTPBadRequest, 404: web.HTTPNotFound}[status]
    return kind(text=json.dumps({"error": why}), content_type="application/json")
