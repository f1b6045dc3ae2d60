"""The resource manager's REST API, as far as a fleet needs it: published paths, versions, polling and error bodies.

References: Virtual Machine Scale Sets (Create Or Update, Update, Get, Delete, Delete Instances), Virtual Machine Scale
Set VMs (List), Virtual Machines (List, Get, Delete), Network Interfaces (Get), User Assigned Identities (Get), Usage (List),
Virtual Machine Sizes (List), Subnets (Get), and "Track asynchronous Azure operations".
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.azure_standin.authorization import Authorization
from tests.azure_standin.imds import MetadataService
from tests.azure_standin.rules import LOCATIONS, SIZES, ArmError, check_scale_set, check_update, require
from tests.azure_standin.scale_sets import SETS, VMS, Operation, ScaleSet, ScaleSets, Vm

VERSIONS = {
    "Microsoft.Compute": {"2024-07-01", "2024-11-01", "2025-04-01", "2026-04-01"},
    "Microsoft.Network": {
        "2024-05-01",
        "2024-07-01",
        "2024-10-01",
        "2025-01-01",
        "2025-03-01",
        "2025-05-01",
        "2026-03-01",
    },
    "Microsoft.ManagedIdentity": {"2018-11-30", "2023-01-31", "2024-11-30"},
    "Microsoft.Authorization": {"2015-07-01", "2022-04-01"},
    "Microsoft.Storage": {"2023-01-01", "2023-05-01", "2024-01-01", "2025-01-01", "2025-06-01", "2025-08-01"},
}
PAGE = 2
"""Entries of a listing on one page: few, so that listings have several."""
ACTIONS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
GROUP = "/subscriptions/{sub}/resourceGroups/{group}/providers"
REGION = "/subscriptions/{sub}/providers/Microsoft.Compute/locations/{location}"
NETWORKS = "Microsoft.Network/virtualNetworks"


class ResourceManager:
    """One subscription. ``sets``, ``denied``, ``throttled`` and the tables of resources are what a test sets."""

    def __init__(self, subscription: str, groups: list[str], sets: ScaleSets, metadata: MetadataService) -> None:
        self.subscription = subscription
        self.groups = groups
        self.sets = sets
        self.metadata = metadata
        self.authorization = Authorization()
        self.subnets: set[str] = set()
        self.identities: dict[str, dict[str, str]] = {}
        """Resource id and ``clientId``."""
        self.others: dict[str, dict[str, Any]] = {}
        """VMs and network interfaces that no scale set made, by their id."""
        self.usages: dict[str, tuple[int, int]] = {"cores": (4, 100), "lowPriorityCores": (4, 100)}
        """Quotas of each region by name: what is in use, and the limit."""
        self.denied: set[str] = set()
        """Actions that the manager's identity may not do."""
        self.used: set[str] = set()
        """Actions that were asked for."""
        self.throttled = 0
        """How many of the next requests are refused for being too many."""
        self.requests: list[tuple[str, str, Any]] = []
        """Method, path, and body of every request that was let in."""

    def routes(self, app: web.Application) -> None:
        one = f"{GROUP}/{SETS}/{{name}}"
        for method, path, answer in (
            ("GET", one, self._get_set),
            ("PUT", one, self._put_set),
            ("PATCH", one, self._patch_set),
            ("DELETE", one, self._delete_set),
            ("GET", f"{one}/virtualMachines", self._list_instances),
            ("POST", f"{one}/delete", self._delete_instances),
            ("GET", f"{GROUP}/{VMS}", self._list_vms),
            ("DELETE", f"{GROUP}/{VMS}/{{name}}", self._delete_vm),
            ("GET", f"{GROUP}/{VMS}/{{name}}", self._get_other),
            ("GET", f"{GROUP}/Microsoft.Network/networkInterfaces/{{name}}", self._get_other),
            ("GET", f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/{{name}}", self._get_identity),
            (
                "GET",
                "/subscriptions/{sub}/providers/Microsoft.Compute/locations/{location}/operations/{id}",
                self._get_operation,
            ),
            ("GET", f"{REGION}/usages", self._list_usages),
            ("GET", f"{REGION}/vmSizes", self._list_sizes),
            ("GET", f"{GROUP}/{NETWORKS}/{{network}}/subnets/{{name}}", self._get_other),
            *self.authorization.routes(),
        ):
            app.router.add_route(method, path, self._guarded(answer))
        app.router.add_route("*", "/{path:.*}", self._guarded(self._nothing))

    # -- what every request goes through ---------------------------------------------------------------------------

    def _guarded(self, answer: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            try:
                if self.throttled:
                    self.throttled -= 1
                    refused = ArmError(
                        429, "TooManyRequests", "The number of requests exceeded the limit of the subscription."
                    )
                    return web.json_response(refused.body, status=429, headers={"Retry-After": "1"})
                await self._admit(request)
                return await answer(request)
            except ArmError as error:
                return web.json_response(error.body, status=error.status)

        return guarded

    async def _admit(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.metadata.tokens:
            raise ArmError(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        if request.match_info.get("sub", self.subscription) != self.subscription:
            raise ArmError(
                404, "SubscriptionNotFound", f"The subscription '{request.match_info['sub']}' could not be found."
            )
        group = request.match_info.get("group")
        if group is not None and group not in self.groups:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        provider = request.path.rpartition("/providers/")[2].partition("/")[0]
        version = request.query.get("api-version")
        if version not in VERSIONS.get(provider, ()):
            raise ArmError(
                400, "NoRegisteredProviderFound", f"No registered resource provider found for api-version '{version}'."
            )
        body = await request.json() if request.body_exists else None
        self.requests.append((request.method, request.path, body))
        self._authorize(request)

    def _authorize(self, request: web.Request) -> None:
        kind = request.path.rpartition("/providers/")[2].split("/")
        if "operations" in kind:
            self._allow("Microsoft.Compute/locations/operations/read", request.path)
            return
        if request.method == "POST":
            action = f"{kind[0]}/{kind[1]}/{kind[3]}/action"
        elif "subnets" in kind or len(kind) == 4:
            action = f"{kind[0]}/{kind[1]}/{kind[3]}/{ACTIONS[request.method]}"
        else:
            action = f"{kind[0]}/{kind[1]}/{ACTIONS[request.method]}"
        self._allow(action, request.path)

    def _allow(self, action: str, scope: str, code: str = "AuthorizationFailed") -> None:
        self.used.add(action)
        if action in self.denied:
            raise ArmError(
                403,
                code,
                f"The client '0000' with object id '0000' does not have authorization to perform action '{action}' over "
                f"scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
            )

    async def _nothing(self, request: web.Request) -> web.Response:
        raise ArmError(404, "InvalidResourceType", f"The resource type of {request.path} could not be found.")

    def _begun(self, request: web.Request, operation: Operation | None, body: Any, status: int) -> web.Response:
        assert operation is not None
        base = f"{request.scheme}://{request.host}/subscriptions/{self.subscription}/providers/Microsoft.Compute"
        version = request.query["api-version"]
        address = f"{base}/locations/{LOCATIONS[0]}/operations/{operation.id}?api-version={version}"
        headers = {"Azure-AsyncOperation": address, "Retry-After": "1"}
        if status == 202:
            headers["Location"] = address + "&monitor=true"
        return (
            web.json_response(body, status=status, headers=headers)
            if body
            else web.Response(status=status, headers=headers)
        )

    # -- scale sets ------------------------------------------------------------------------------------------------

    async def _get_set(self, request: web.Request) -> web.Response:
        return web.json_response(self.sets.find(request.path).shown)

    async def _put_set(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.headers.get("If-None-Match") == "*" and request.path.lower() in self.sets.sets:
            raise ArmError(412, "PreconditionFailed", "The condition '*' of If-None-Match is not satisfied.")
        check_scale_set(body, self.subnets, self.identities)
        name = request.match_info["name"]
        require(len(name) <= 64 and not name.endswith("-"), "vmScaleSetName", "1 to 64 characters.")
        for one in (body.get("identity") or {}).get("userAssignedIdentities", {}):
            self._allow(
                "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", one, "LinkedAuthorizationFailed"
            )
        for one in body["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"]:
            subnet = one["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"]
            self._allow("Microsoft.Network/virtualNetworks/subnets/join/action", subnet, "LinkedAuthorizationFailed")
        status, found = self.sets.put(request.path, body)
        if principal := (found.record.get("identity") or {}).get("principalId"):
            self.authorization.principals.add(principal)
        return self._begun(request, found.operation, found.shown, status)

    async def _patch_set(self, request: web.Request) -> web.Response:
        self.sets.find(request.path)
        body = await request.json()
        check_update(body)
        found = self.sets.patch(request.path, body)
        return self._begun(request, found.operation, found.shown, 200)

    async def _delete_set(self, request: web.Request) -> web.Response:
        if request.path.lower() not in self.sets.sets:
            return web.Response(status=204)
        return self._begun(request, self.sets.delete(request.path), None, 202)

    async def _list_instances(self, request: web.Request) -> web.Response:
        found = self.sets.find(request.path.rpartition("/")[0])
        if found.flexible:
            raise ArmError(
                400,
                "OperationNotAllowed",
                "The operation is not allowed on a scale set with Flexible orchestration mode.",
            )
        return self._page(request, [self._shown_vm(found, vm) for vm in found.vms.values()])

    async def _delete_instances(self, request: web.Request) -> web.Response:
        found = self.sets.find(request.path.rpartition("/")[0])
        wanted = (await request.json())["instanceIds"]
        vms = [vm for vm in found.vms.values() if vm.instance_id in wanted]
        require(len(vms) == len(wanted), "instanceIds", "No such instance.")
        return self._begun(request, self.sets.delete_vm(found, vms), None, 202)

    async def _get_operation(self, request: web.Request) -> web.Response:
        operation = self.sets.operations.get(request.match_info["id"])
        if operation is None:
            raise ArmError(404, "NotFound", "There is no such operation.")
        return web.json_response(operation.body, headers={"Retry-After": "1"})

    # -- machines --------------------------------------------------------------------------------------------------

    async def _list_vms(self, request: web.Request) -> web.Response:
        only = request.query.get("$filter", "")
        start, end = "'virtualMachineScaleSet/id' eq '", "'"
        if not only.startswith(start) or not only.endswith(end):
            raise ArmError(400, "BadRequest", f"The filter {only!r} is not supported.")
        found = self.sets.sets.get(only.removeprefix(start).removesuffix(end).lower())
        flexible = [(found, vm) for vm in found.vms.values()] if found and found.flexible else []
        return self._page(request, [self._shown_vm(*one) for one in flexible])

    async def _delete_vm(self, request: web.Request) -> web.Response:
        for found in self.sets.sets.values():
            vm = found.vms.get(request.match_info["name"])
            if vm is not None and found.flexible:
                return self._begun(request, self.sets.delete_vm(found, [vm]), None, 202)
        return web.Response(status=204)

    async def _get_other(self, request: web.Request) -> web.Response:
        found = self.others.get(request.path)
        if found is None:
            kind = "/".join(request.path.rpartition("/providers/")[2].split("/")[:2])
            raise ArmError(
                404, "ResourceNotFound", f"The Resource '{kind}/{request.match_info['name']}' was not found."
            )
        return web.json_response(found)

    async def _list_usages(self, request: web.Request) -> web.Response:
        self._region(request)
        entries = [
            {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": name}}
            for name, (used, limit) in self.usages.items()
        ]
        return self._page(request, entries)

    async def _list_sizes(self, request: web.Request) -> web.Response:
        self._region(request)
        found = [(name, re.search(r"\d+", name)) for name in SIZES]
        return web.json_response(
            {"value": [{"name": name, "numberOfCores": int(some[0])} for name, some in found if some]}
        )

    def _region(self, request: web.Request) -> None:
        location = request.match_info["location"]
        if location not in LOCATIONS:
            raise ArmError(400, "NoRegisteredProviderFound", f"No registered resource provider found for '{location}'.")

    async def _get_identity(self, request: web.Request) -> web.Response:
        found = self.identities.get(request.path)
        if found is None:
            raise ArmError(404, "ResourceNotFound", "The identity was not found.")
        return web.json_response({"id": request.path, "location": LOCATIONS[0], "properties": found})

    def _shown_vm(self, found: ScaleSet, vm: Vm) -> dict[str, Any]:
        group = found.id.partition("/providers/")[0]
        vm_id = (
            f"{group}/providers/{VMS}/{vm.name}" if found.flexible else f"{found.id}/virtualMachines/{vm.instance_id}"
        )
        about = {"provisioningState": vm.state, "timeCreated": vm.created, "hardwareProfile": {"vmSize": vm.size}}
        shown = {
            "id": vm_id,
            "name": vm.name,
            "location": found.record["location"],
            "tags": found.record.get("tags", {}),
        }
        if found.flexible:
            return shown | {"properties": about | {"virtualMachineScaleSet": {"id": found.id}}}
        return shown | {"instanceId": vm.instance_id, "sku": {"name": vm.size}, "properties": about}

    def _page(self, request: web.Request, entries: list[dict[str, Any]]) -> web.Response:
        start = int(request.query.get("$skiptoken", 0))
        body: dict[str, Any] = {"value": entries[start : start + PAGE]}
        if start + PAGE < len(entries):
            body["nextLink"] = str(request.url.origin()) + str(
                request.rel_url.update_query({"$skiptoken": start + PAGE})
            )
        return web.json_response(body, dumps=json.dumps)
