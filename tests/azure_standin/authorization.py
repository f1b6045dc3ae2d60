"""Storage accounts and who may do what on them, as the resource manager's REST API has it.

References: Microsoft.Authorization, permissions (List For Resource) and roleAssignments (Create, Delete);
Microsoft.Storage/storageAccounts (Get Properties, List Keys).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.azure_standin.rules import ArmError, require

ACCOUNT = "/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{name}"
QUEUE = ACCOUNT + "/queueServices/default/queues/{queue}"
GRANT = "/providers/Microsoft.Authorization"
OWNER = {"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}
CONTRIBUTOR = {"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"]}
USER_ACCESS_ADMINISTRATOR = {"actions": ["*/read", "Microsoft.Authorization/*"], "notActions": []}


@dataclass
class StorageAccount:
    """``key`` is its account key; ``shared_keys`` whether it takes one."""

    key: str = "c2VjcmV0"
    shared_keys: bool = True
    permissions: list[dict[str, Any]] = field(default_factory=list)
    """What the manager's identity may do on it, as Azure lists it."""


class Authorization:
    """``accounts`` by resource id, and every role ``assignment`` that is in force, by its own."""

    def __init__(self) -> None:
        self.accounts: dict[str, StorageAccount] = {}
        self.assignments: dict[str, dict[str, Any]] = {}
        self.principals: set[str] = set()
        """Identities that there are."""

    def routes(self) -> list[tuple[str, str, Any]]:
        assignments = [
            (method, f"{scope}{GRANT}/roleAssignments/{{assignment}}", answer)
            for scope in (ACCOUNT, QUEUE)
            for method, answer in (("PUT", self._assign), ("DELETE", self._remove))
        ]
        return [
            ("GET", ACCOUNT, self._get_account),
            ("POST", ACCOUNT + "/listKeys", self._list_keys),
            ("GET", f"{ACCOUNT}{GRANT}/permissions", self._permissions),
            *assignments,
        ]

    def _account(self, request: web.Request) -> StorageAccount:
        found = self.accounts.get(
            request.path.partition(GRANT)[0].partition("/queueServices/")[0].removesuffix("/listKeys")
        )
        if found is None:
            name = request.match_info["name"]
            raise ArmError(
                404, "ResourceNotFound", f"The Resource 'Microsoft.Storage/storageAccounts/{name}' was not found."
            )
        return found

    async def _get_account(self, request: web.Request) -> web.Response:
        found = self._account(request)
        return web.json_response({"id": request.path, "properties": {"allowSharedKeyAccess": found.shared_keys}})

    async def _list_keys(self, request: web.Request) -> web.Response:
        found = self._account(request)
        return web.json_response({"keys": [{"keyName": "key1", "value": found.key, "permissions": "FULL"}]})

    async def _permissions(self, request: web.Request) -> web.Response:
        return web.json_response({"value": self._account(request).permissions})

    async def _assign(self, request: web.Request) -> web.Response:
        self._account(request)
        name, about = request.match_info["assignment"], (await request.json())["properties"]
        require(str(uuid.UUID(name)) == name, "roleAssignmentName", "Must be a GUID.")
        require(
            about["roleDefinitionId"].rpartition("/")[0].endswith("/providers/Microsoft.Authorization/roleDefinitions"),
            "roleDefinitionId",
            "Not the id of a role definition.",
        )
        if about["principalId"] not in self.principals:
            raise ArmError(
                400, "PrincipalNotFound", f"Principal {about['principalId']} does not exist in the directory."
            )
        scope = request.path.partition(GRANT)[0]
        same = {"scope": scope, **about}
        if any(one == same for path, one in self.assignments.items() if path != request.path):
            raise ArmError(409, "RoleAssignmentExists", "The role assignment already exists.")
        status = 200 if request.path in self.assignments else 201
        self.assignments[request.path] = same
        return web.json_response({"id": request.path, "name": name, "properties": same}, status=status)

    async def _remove(self, request: web.Request) -> web.Response:
        found = self.assignments.pop(request.path, None)
        return web.json_response(found) if found else web.Response(status=204)
