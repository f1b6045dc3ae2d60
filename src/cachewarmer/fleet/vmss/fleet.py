"""A scale set of Spot VMs: one for each broker, found again by its name and tags.

``create`` and ``resize`` return when Azure has accepted a request, and the operation is followed in the background: if
there is no room for a VM size, which may be known at once or only when the operation ends, the next size of the list
is tried. A failure after the acceptance is only logged: the policy sees the size of the fleet and requests what is
missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from azure.core import MatchConditions
from azure.mgmt.compute.models import (
    VirtualMachineScaleSet,
    VirtualMachineScaleSetUpdate,
    VirtualMachineScaleSetVMInstanceRequiredIDs,
)

from cachewarmer.azure.metadata import Imds
from cachewarmer.config import VmssSettings
from cachewarmer.errors import CapacityError, ConfigError, FleetError, FleetUnavailable
from cachewarmer.eventloop import end_tasks
from cachewarmer.fleet.base import Fleet, FleetSize, MachineTime, WorkerLaunch
from cachewarmer.fleet.vmss import model
from cachewarmer.fleet.vmss.arm import (
    FOREIGN,
    Clients,
    ResourceNotFoundError,
    asked,
    capacity_reason,
    detail,
    done,
    plain,
    translated,
)
from cachewarmer.fleet.vmss.cloud_init import custom_data
from cachewarmer.fleet.vmss.identity import account_id, grant, revoke
from cachewarmer.fleet.vmss.ledger import FAILED, Machine, MachineLedger
from cachewarmer.fleet.vmss.place import Group, find_group, find_place, warn_of_first_generation

log = logging.getLogger(__name__)

T = TypeVar("T")


class VmssFleet(Fleet):
    """The scale set of the broker that ``launch`` names.

    Raises:
        ConfigError: a setting is invalid.
    """

    outlives_manager = True

    def __init__(
        self,
        settings: VmssSettings,
        launch: WorkerLaunch,
        *,
        imds: Imds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        model.check(settings)
        account, _, prefix = launch.broker_url.removeprefix("azure://").partition("/")
        if not launch.broker_url.startswith("azure://") or not account or not prefix:
            raise ConfigError(f"a scale set's workers need a broker azure://ACCOUNT/PREFIX, not {launch.broker_url}")
        custom_data(launch, settings)  # a value that can't be passed on is reported now, not when there is work
        self.name = model.scale_set_name(account, prefix)
        self._settings = settings
        self._launch = launch
        self._imds = imds or Imds()
        self._clock = clock
        self._sizes = model.vm_sizes(settings)
        self._size = 0
        """Index of the VM size to request; a size that had room is kept until the fleet is deleted."""
        self._wanted = 0
        self._evicted_when_asked = 0
        self._ledger = MachineLedger()
        self._clients: Clients | None = None
        self._group: Group | None = None
        self._place: model.Place | None = None
        self._growing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<VmssFleet {self.name} wanted={self._wanted} size={self._sizes[self._size]}>"

    # -- the contract ----------------------------------------------------------------------------------------------

    async def check(self) -> None:
        clients, group = await self._open()
        place = await self._find_place()
        custom_data(self._launch, self._settings, client_id=place.sign_in.client_id, key=place.sign_in.key)
        await warn_of_first_generation(clients, group)

    async def observe(self) -> FleetSize:
        found = await self._find()
        if found is None:
            self._ledger.all_gone(self._clock())
            return FleetSize(wanted=self._wanted if self._is_growing else 0, evicted=self._ledger.evicted)
        machines = await self._machines(found)
        if model.state_of(found) == "deleting":
            self._ledger.going([one.name for one in machines])
        for gone in self._ledger.note(machines, self._clock()):
            log.info("%s: machine %s %s after %.0f s", self.name, gone.name, gone.end, gone.seconds(gone.ended_at))
        return FleetSize(
            exists=True,
            wanted=self._wanted or model.capacity_of(found),
            running=sum(one.alive for one in machines),
            evicted=self._ledger.evicted,
        )

    async def create(self, workers: int) -> None:
        if await self._find() is not None:
            await self.resize(workers)
        else:
            await self._grow(workers, fresh=True)

    async def resize(self, workers: int) -> None:
        if self._is_growing and workers == self._wanted and self._ledger.evicted == self._evicted_when_asked:
            return  # the request is still in progress
        found = await self._find()
        if found is None:
            await self._grow(workers, fresh=True)
            return
        if model.state_of(found) == "deleting":
            raise FleetUnavailable(f"scale set {self.name} is being deleted: creating it again when it is gone")
        await self._stop_following()
        machines = await self._machines(found)
        alive = sum(one.alive for one in machines)
        target = max(workers, alive)  # it is unknown which machines hold work, so none is taken away
        capacity, state = model.capacity_of(found), model.state_of(found)
        if state in ("creating", "updating") and capacity == target:
            self._wanted = target  # requested by an earlier manager, and in progress
            return
        await self._remove_failed(found, machines)
        if state == "succeeded" and capacity >= target > alive:
            # Azure's count does not reflect the evictions: a request for the same number again would do nothing.
            await self._patch(found, alive)
        if target != alive or capacity != target:
            self._size = self._sizes.index(size) if (size := model.size_of(found)) in self._sizes else self._size
            await self._grow(target, fresh=False)

    async def delete(self) -> None:
        await self._stop_following()
        found = await self._find()
        if found is not None:
            self._ledger.note(machines := await self._machines(found), self._clock())
            self._ledger.going([one.name for one in machines])
            what = f"deleting scale set {self.name}"
            try:
                await self._delete_set(what)
            except FleetUnavailable:
                raise
            except FleetError as error:
                # A flexible set may refuse to be deleted while it holds machines: it is emptied first.
                log.warning("%s; emptying it first", error)
                await self._patch(found, 0)
                await self._delete_set(what)
            await self._revoke(found)
            if await self._find() is not None:
                raise FleetUnavailable(f"{what}: Azure reported success, but it is still there")
            log.info("scale set %s is deleted", self.name)
        self._ledger.all_gone(self._clock())
        self._wanted, self._size = 0, 0

    def ledger(self) -> list[MachineTime]:
        return self._ledger.times()

    async def close(self) -> None:
        await self._stop_following()
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.close()
        await self._imds.close()

    # -- growing ---------------------------------------------------------------------------------------------------

    @property
    def _is_growing(self) -> bool:
        return self._growing is not None and not self._growing.done()

    async def _grow(self, workers: int, *, fresh: bool) -> None:
        """Requests a capacity, one VM size after the other; returns when a request is accepted, and follows it.

        Raises:
            CapacityError: there is no room for any VM size. FleetError: see ``arm.translated``.
        """
        await self._stop_following()
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._growing = asyncio.create_task(self._try_sizes(workers, fresh, accepted))
        try:
            await accepted
        except BaseException:
            await self._stop_following()
            raise

    async def _try_sizes(self, workers: int, fresh: bool, accepted: asyncio.Future[None]) -> None:
        refusals: list[str] = []
        for _ in self._sizes:
            size = self._sizes[self._size]
            try:
                result = await (self._put(size, workers) if fresh else self._patch_size(size, workers))
                if not accepted.done():
                    accepted.set_result(None)
                    self._wanted, self._evicted_when_asked = workers, self._ledger.evicted
                    log.info("scale set %s: asked for %d of %s", self.name, workers, size)
                await result
            except CapacityError as error:
                refusals.append(f"{size}: {_reason_of(error)}")
                self._size = (self._size + 1) % len(self._sizes)
                if len(refusals) < len(self._sizes):
                    log.warning("%s; trying %s instead", error, self._sizes[self._size])
                fresh = await self._still_absent(fresh)
            except Exception as error:
                self._fail(error, accepted)
                return
            else:
                return
        self._size = 0
        self._fail(
            CapacityError(
                f"no room for {workers} Spot machines in any VM size of the list ({', '.join(refusals)}): "
                f"add sizes to [fleet.vmss] vm_sizes, ask for more Spot quota, or wait"
            ),
            accepted,
        )

    def _fail(self, error: Exception, accepted: asyncio.Future[None]) -> None:
        if isinstance(error, ConfigError):
            error = FleetError(f"creating scale set {self.name}: {error}")
        elif not isinstance(error, FleetError):
            log.error("scale set %s", self.name, exc_info=error)
            error = FleetError(f"scale set {self.name}: {type(error).__name__}: {error}")
        if accepted.done():
            log.warning("%s", error)
        else:
            accepted.set_exception(error)

    async def _still_absent(self, fresh: bool) -> bool:
        """Whether a refused creation left no scale set behind; if it left one, failed machines are removed from it."""
        with contextlib.suppress(FleetError):
            found = await self._find()
            if found is None:
                return True
            await self._remove_failed(found, await self._machines(found))
            return False
        return fresh

    async def _put(self, size: str, workers: int) -> Awaitable[Any]:
        what = f"creating scale set {self.name} of {size}"
        clients, group = await self._open()
        place = await self._find_place()
        settings, sign_in = self._settings, place.sign_in
        data = custom_data(self._launch, settings, client_id=sign_in.client_id, key=sign_in.key)
        body = model.scale_set(
            settings, place, broker=self._launch.broker_url, size=size, workers=workers, custom_data=data
        )
        # Only if there is none of that name: another manager may create it now, or it may be somebody else's.
        poller = await asked(
            what,
            clients.compute.virtual_machine_scale_sets.begin_create_or_update(
                group.resource_group,
                self.name,
                VirtualMachineScaleSet(body),
                match_condition=MatchConditions.IfMissing,
            ),
        )
        if sign_in.grants_at:
            await self._grant(clients, sign_in.grants_at)
        return asked(what, poller.result())

    async def _grant(self, clients: Clients, account: str) -> None:
        """Grants the scale set's own identity its roles; if that fails, deletes the set, which would be useless."""
        try:
            await grant(clients, self._launch, account, await self._find() or {})
        except FleetError:
            await self._delete_set(f"deleting scale set {self.name}, whose workers could not sign in")
            raise

    async def _patch_size(self, size: str, workers: int) -> Awaitable[Any]:
        what = f"resizing scale set {self.name} to {workers} of {size}"
        clients, group = await self._open()
        body = VirtualMachineScaleSetUpdate(model.resized(size, workers))
        sets = clients.compute.virtual_machine_scale_sets
        poller = await asked(what, sets.begin_update(group.resource_group, self.name, body))
        return asked(what, poller.result())

    async def _patch(self, found: dict[str, Any], workers: int) -> None:
        await (await self._patch_size(model.size_of(found), workers))

    async def _delete_set(self, what: str) -> None:
        clients, group = await self._open()
        sets = clients.compute.virtual_machine_scale_sets
        await done(what, sets.begin_delete(group.resource_group, self.name, force_deletion=True))

    async def _revoke(self, found: dict[str, Any]) -> None:
        """Removes the roles of a deleted scale set's own identity."""
        clients, group = await self._open()
        if account := account_id(self._launch, group.subscription_id):
            await revoke(clients, self._launch, account, found)

    async def _stop_following(self) -> None:
        """Stops following a request; Azure continues with it."""
        task, self._growing = self._growing, None
        if task is not None:
            await end_tasks(task)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def _open(self) -> tuple[Clients, Group]:
        if self._clients is None or self._group is None:
            self._group = await find_group(self._settings, self._imds)
            self._clients = Clients.open(self._group.subscription_id)
        return self._clients, self._group

    async def _find_place(self) -> model.Place:
        """Where and how new machines are created; finding and deleting existing ones does not need it."""
        if self._place is None:
            clients, group = await self._open()
            self._place = await find_place(self._settings, self._launch, clients, group)
            log.info("the workers go to %s, subnet %s", self._place.location, self._place.subnet_id)
        return self._place

    async def _find(self) -> dict[str, Any] | None:
        """The scale set as Azure describes it; None: there is none.

        Raises:
            FleetError: there is one of that name which this program did not create for this broker.
        """
        what = f"looking at scale set {self.name}"
        clients, group = await self._open()
        try:
            found = plain(await clients.compute.virtual_machine_scale_sets.get(group.resource_group, self.name))
        except ResourceNotFoundError as error:
            if getattr(getattr(error, "error", None), "code", "") == "ResourceGroupNotFound":
                raise translated(error, what) from error
            return None
        except FOREIGN as error:
            raise translated(error, what) from error
        if not model.is_ours(found, self._launch.broker_url):
            self._raise_foreign(group)
        return found

    def _raise_foreign(self, group: Group) -> NoReturn:
        raise FleetError(
            f"the scale set {self.name} in {group.resource_group} was not made by cachewarmer for "
            f"{self._launch.broker_url} (its tags say so) and is left alone: rename or delete it, or use another prefix"
        )

    async def _machines(self, found: dict[str, Any]) -> list[Machine]:
        """Lists the machines: VMs of their own in a flexible set, instances of the set in a uniform one."""
        clients, group = await self._open()
        what = f"listing the machines of scale set {self.name}"
        listing: AsyncIterable[Any]
        if model.is_flexible(found):
            only = f"'virtualMachineScaleSet/id' eq '{found['id']}'"
            listing = clients.compute.virtual_machines.list(group.resource_group, filter=only)
        else:
            listing = clients.compute.virtual_machine_scale_set_vms.list(group.resource_group, self.name)
        try:
            return [Machine.from_json(plain(one)) async for one in listing]
        except ResourceNotFoundError:
            return []  # deleted since it was found
        except FOREIGN as error:
            raise translated(error, what) from error

    async def _remove_failed(self, found: dict[str, Any], machines: list[Machine]) -> None:
        """Deletes machines that failed to start: they cost money and count towards the capacity."""
        failed = [one for one in machines if one.state == FAILED]
        if not failed:
            return
        clients, group = await self._open()
        what = f"deleting {len(failed)} failed machines of scale set {self.name}"
        compute = clients.compute
        if not model.is_flexible(found):
            ids = VirtualMachineScaleSetVMInstanceRequiredIDs({"instanceIds": [one.instance_id for one in failed]})
            sets = compute.virtual_machine_scale_sets
            await done(what, sets.begin_delete_instances(group.resource_group, self.name, ids, force_deletion=True))
            return
        for one in failed:
            await done(what, compute.virtual_machines.begin_delete(group.resource_group, one.name, force_deletion=True))


def _reason_of(error: CapacityError) -> str:
    """Why there is no room, without the operation."""
    return capacity_reason(*detail(error.__cause__)) if error.__cause__ else str(error)
