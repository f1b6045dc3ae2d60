"""The scale sets of one subscription: their records, the long operations on them, and the machines in them."""

from __future__ import annotations

import asyncio
import base64
import copy
import datetime as dt
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.azure_standin.machine import Machine
from tests.azure_standin.rules import ArmError

SETS = "Microsoft.Compute/virtualMachineScaleSets"
VMS = "Microsoft.Compute/virtualMachines"


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()


@dataclass
class Operation:
    """A long operation, as its status address shows it."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: str = field(default_factory=now)
    status: str = "InProgress"
    error: ArmError | None = None

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.id, "startTime": self.started, "status": self.status}
        if self.status != "InProgress":
            body["endTime"] = now()
        return body | (self.error.body if self.error else {})


@dataclass
class Vm:
    """One machine of a scale set."""

    name: str
    size: str
    instance_id: str
    computer: str
    """Its host name."""
    created: str = field(default_factory=now)
    state: str = "Creating"
    machine: Machine | None = None


@dataclass
class ScaleSet:
    """A scale set as it was asked for, and what there is of it."""

    id: str
    record: dict[str, Any]
    vms: dict[str, Vm] = field(default_factory=dict)
    operation: Operation | None = None
    running: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def flexible(self) -> bool:
        return bool(self.record["properties"].get("orchestrationMode") == "Flexible")

    @property
    def capacity(self) -> int:
        return int(self.record["sku"]["capacity"])

    @property
    def shown(self) -> dict[str, Any]:
        """What Get answers: no secret, and what the service has added."""
        shown = copy.deepcopy(self.record)
        profile = shown["properties"]["virtualMachineProfile"]["osProfile"]
        for secret in ("adminPassword", "customData"):
            profile.pop(secret, None)
        return {"id": self.id, "name": self.name, "type": SETS, **shown}


class ScaleSets:
    """All of them. Its attributes are what a test sets to make the cloud behave."""

    def __init__(self, boot: Callable[[Vm, ScaleSet, bytes], Machine] | None) -> None:
        self.boot = boot
        """Makes and starts the machine behind a VM; None: there is none behind it."""
        self.sets: dict[str, ScaleSet] = {}
        """By the lower-case id."""
        self.operations: dict[str, Operation] = {}
        self.all_vms: list[Vm] = []
        """Every VM there ever was."""
        self.room: dict[str, int] = {}
        """How many more VMs of a size there is room for; a size that is missing has room for any number."""
        self.no_room = (
            "OverconstrainedAllocationRequest",
            "Allocation failed. VM(s) with the requested size can't be found.",
        )
        """What a size without room is refused with, when the operation ends."""
        self.refused: dict[str, tuple[str, str]] = {}
        """Sizes that are refused at once, with this code and message."""
        self.failing_deletions = 0
        self.keeps_machines = False
        """Whether a scale set that has machines refuses to be deleted."""
        self.capacity_follows_evictions = True
        self.operation_seconds = 0.05
        self.leave_failed = False
        """Whether a VM without room stays behind, failed."""

    def find(self, set_id: str) -> ScaleSet:
        found = self.sets.get(set_id.lower())
        if found is None:
            group, name = set_id.split("/")[4], set_id.rpartition("/")[2]
            raise ArmError(
                404, "ResourceNotFound", f"The Resource '{SETS}/{name}' under resource group '{group}' was not found."
            )
        return found

    def put(self, set_id: str, body: dict[str, Any]) -> tuple[int, ScaleSet]:
        self._refuse(body["sku"]["name"])
        found = self.sets.get(set_id.lower())
        status = 200 if found else 201
        if found is None:
            found = self.sets[set_id.lower()] = ScaleSet(set_id, {})
        found.record = copy.deepcopy(body)
        if (body.get("identity") or {}).get("type") == "SystemAssigned":
            found.record["identity"] |= {"principalId": str(uuid.uuid4()), "tenantId": str(uuid.uuid4())}
        found.record["properties"] |= {"uniqueId": str(uuid.uuid4()), "timeCreated": now()}
        self._start(found, "Creating" if status == 201 else "Updating", lambda: self._settle(found))
        return status, found

    def patch(self, set_id: str, body: dict[str, Any]) -> ScaleSet:
        found = self.find(set_id)
        wanted = found.record["sku"] | body.get("sku", {})
        if wanted["capacity"] > len(found.vms):
            self._refuse(wanted["name"])
        found.record["sku"] = wanted
        found.record["tags"] = found.record.get("tags", {}) | body.get("tags", {})
        self._start(found, "Updating", lambda: self._settle(found))
        return found

    def delete(self, set_id: str) -> Operation:
        found = self.find(set_id)
        if self.keeps_machines and found.vms:
            raise ArmError(409, "OperationNotAllowed", "The scale set has virtual machines and cannot be deleted.")
        return self._start(found, "Deleting", lambda: self._delete(found))

    def delete_vm(self, found: ScaleSet, vms: list[Vm]) -> Operation:
        async def go() -> None:
            for vm in vms:
                await self._end(found, vm)
                found.record["sku"]["capacity"] = max(0, found.capacity - 1)

        return self._start(found, "Updating", go)

    def _refuse(self, size: str) -> None:
        if size in self.refused:
            raise ArmError(409, *self.refused[size])

    def _start(self, found: ScaleSet, state: str, work: Callable[[], Awaitable[None]]) -> Operation:
        if found.running and not found.running.done():
            found.running.cancel()
            if found.operation and found.operation.status == "InProgress":
                found.operation.status = "Canceled"
                found.operation.error = ArmError(
                    409, "OperationPreempted", "The operation was preempted by a later one."
                )
        operation = found.operation = Operation()
        self.operations[operation.id] = operation
        found.record["properties"]["provisioningState"] = state
        found.running = asyncio.create_task(self._run(found, operation, work))
        return operation

    async def _run(self, found: ScaleSet, operation: Operation, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self.operation_seconds)
        try:
            await work()
        except ArmError as error:
            operation.error, operation.status = error, "Failed"
            found.record["properties"]["provisioningState"] = "Failed"
        else:
            operation.status = "Succeeded"
            found.record["properties"]["provisioningState"] = "Succeeded"

    async def _settle(self, found: ScaleSet) -> None:
        """Makes as many VMs as there should be, or takes the newest away."""
        for vm in list(found.vms.values())[found.capacity :]:
            await self._end(found, vm)
        while len(found.vms) < found.capacity:
            size = found.record["sku"]["name"]
            number = str(len(self.all_vms))
            name = f"{found.name}_{secrets.token_hex(4)}" if found.flexible else f"{found.name}_{number}"
            os = found.record["properties"]["virtualMachineProfile"]["osProfile"]
            computer = f"{os['computerNamePrefix']}{secrets.token_hex(3)}"
            vm = Vm(name, size, name if found.flexible else number, computer)
            if self.room.get(size, 1) <= 0:
                if self.leave_failed:
                    vm.state = "Failed"
                    found.vms[name] = vm
                raise ArmError(409, *self.no_room)
            if size in self.room:
                self.room[size] -= 1
            if self.boot is not None:
                vm.machine = self.boot(vm, found, base64.b64decode(os.get("customData", "")))
            found.vms[name] = vm
            self.all_vms.append(vm)
            await asyncio.sleep(0)
            vm.state = "Succeeded"

    async def _delete(self, found: ScaleSet) -> None:
        if self.failing_deletions:
            self.failing_deletions -= 1
            raise ArmError(500, "InternalExecutionError", "An internal execution error occurred. Please retry later.")
        for vm in list(found.vms.values()):
            await self._end(found, vm)
        del self.sets[found.id.lower()]

    async def _end(self, found: ScaleSet, vm: Vm) -> None:
        vm.state = "Deleting"
        if vm.machine is not None:
            await asyncio.to_thread(vm.machine.kill)
        found.vms.pop(vm.name, None)

    async def evicted(self, found: ScaleSet, vm: Vm) -> None:
        """Takes a VM away as an eviction with the policy Delete does."""
        await self._end(found, vm)
        if self.capacity_follows_evictions:
            found.record["sku"]["capacity"] = max(0, found.capacity - 1)

    def close(self) -> None:
        for found in self.sets.values():
            if found.running:
                found.running.cancel()
        for vm in self.all_vms:
            if vm.machine is not None:
                vm.machine.remove()
