"""The roles of docs/azure.md: each component works with those it lists, and with none of them taken away.

What a role allows is written down here from Azure's reference of built-in roles; a proxy refuses the rest with 403.
"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from cachewarmer.errors import BrokerError
from cachewarmer.model import Bandwidth, JobState, ScanTotals
from tests.conformance.labs import AzuriteLab, a_job, items_of, receipt
from tests.servers.tamperer import Tamperer

ROLES_PAGE = Path(__file__).resolve().parents[2] / "docs" / "azure.md"
MESSAGES = {"messages/read", "messages/write", "messages/delete", "messages/add", "messages/process"}
ALLOWED = {
    "Storage Queue Data Reader": {"queues/read", "messages/read"},
    "Storage Queue Data Message Sender": {"messages/add"},
    "Storage Queue Data Contributor": {"queues/read", "queues/write", "queues/delete", *MESSAGES},
    "Storage Table Data Reader": {"tables/read", "entities/read"},
    "Storage Table Data Contributor": {"tables/read", "tables/write", "entities/read", "entities/write"},
}


def documented():
    """The roles of each component: ``{component: [(role, scope), …]}``, a row of the table for each scope."""
    found = {}
    component = ""
    for line in ROLES_PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[1] in ALLOWED:
            component = cells[0] or component
            for scope in cells[2].split(","):
                found.setdefault(component, []).append((cells[1], scope.strip().strip("`")))
    return found


def operation(head):
    """What a request asks for, as the roles name it, and the queue or table it is about."""
    method, target, _ = head.split("\r\n")[0].split(" ")
    url = urlsplit(unquote(target))
    _, _, rest = url.path.strip("/").partition("/")
    name, _, more = rest.partition("/")
    if "(" in name or name in ("Tables", "$batch") or "application/json" in head:
        table = name.partition("(")[0]
        if table == "Tables":
            return "tables/write", ""
        return ("entities/read" if method == "GET" else "entities/write"), table
    if not more:
        return ("queues/read" if method in ("GET", "HEAD") else "queues/write"), name
    kinds = {"GET": "read" if "peekonly" in url.query else "process", "POST": "add", "PUT": "write", "DELETE": "delete"}
    return f"messages/{kinds[method]}", name


class Identity:
    """A lab whose brokers may do what some roles allow."""

    def __init__(self, lab, roles):
        self.lab = lab
        self.roles = roles
        self.refused = []

    def rule(self, head):
        action, name = operation(head)
        for role, scope in self.roles:
            in_scope = scope in ("the account", "the table") or name == scope.replace("PREFIX", self.lab.prefix)
            if action in ALLOWED[role] and in_scope and action.startswith(("queues", "messages")) == ("Queue" in role):
                return "pass"
        self.refused.append((action, name))
        return "403"


async def manage(broker, job_id, owner):
    await owner.publish(items_of(job_id, 1))
    lease = await broker.claim_job(60)
    await broker.renew_job(lease, 60)
    await broker.status(job_id)
    await broker.set_state(job_id, JobState.SCANNING)
    await broker.publish(items_of(job_id, 2))
    await broker.record_scan(job_id, ScanTotals(items=2, finished=True))
    await broker.backlog()
    await broker.release_job(lease)
    lease = await broker.claim_job(60)
    await broker.settle_job(lease)
    await broker.tidy(0.0)
    async with owner.lab.queue("job") as jobs:
        await jobs.send_message("garbage")
    assert await broker.claim_job(60) is None
    assert len(await owner.lab.poison_reasons()) == 1


async def work(broker, job_id, owner):
    await owner.publish(items_of(job_id, 3))
    leases = []
    while len(leases) < 3:
        leases += await broker.claim(3, 60)
    await broker.state(job_id)
    await broker.renew(leases[0], 60)
    assert await broker.complete("w", [(leases[0], receipt(leases[0]))]) == [True]
    await broker.abandon(leases[1], "it fails")
    leases[2].deliveries = broker.settings.max_deliveries
    await broker.abandon(leases[2], "no good")
    assert len(await owner.lab.poison_reasons()) == 1


async def submit(broker, job_id, owner):
    async def chunks():
        yield b"a\n"

    other = await broker.submit(a_job(), chunks())
    assert (await broker.status(other)).state is JobState.QUEUED


async def control(broker, job_id, owner):
    await broker.set_state(job_id, JobState.SCANNING)
    for state in (JobState.PAUSED, JobState.SCANNING, JobState.CANCELLED):
        await broker.limit(job_id, Bandwidth(1000))
        await broker.set_state(job_id, state)


async def look(broker, job_id, owner):
    await broker.status(job_id)
    await broker.jobs()


DUTIES = {"manager": manage, "worker": work, "submit": submit, "cancel, pause, resume, limit": control, "status": look}


@pytest.fixture
async def attempt(storage_account):
    """Does a component's duties with some roles, on queues and a table that are there; what was refused comes back."""
    async with AsyncExitStack() as stack:
        through = storage_account
        proxies = []
        for service in ("Queue", "Table"):
            port = int(re.search(rf"{service}Endpoint=http://127.0.0.1:(\d+)", storage_account)[1])
            proxies.append(await stack.enter_async_context(Tamperer(port)))
            through = through.replace(f"127.0.0.1:{port}", f"127.0.0.1:{proxies[-1].port}")

        async def doing(duty, roles):
            lab = AzuriteLab(storage_account)
            identity = Identity(lab, roles)
            for proxy in proxies:
                proxy.rule = identity.rule
            async with lab.handles:
                owner = await lab.broker()
                owner.lab = lab
                job_id = await owner.submit(a_job())
                theirs = AzuriteLab(through)
                theirs.prefix = lab.prefix
                async with theirs.handles:
                    try:
                        await duty(await theirs.broker(), job_id, owner)
                    except BrokerError:
                        assert identity.refused
                        return identity.refused
            return []

        yield doing


def test_every_component_is_listed():
    assert set(documented()) == set(DUTIES)


@pytest.mark.parametrize("component", DUTIES)
async def test_the_roles_of_a_component_are_enough_and_none_is_too_many(attempt, component):
    """With all of them it does what it is there for; without any one of them it can't."""
    roles = documented()[component]
    assert await attempt(DUTIES[component], roles) == []
    for role in roles:
        assert await attempt(DUTIES[component], [one for one in roles if one != role]), role


TRIALS = {"manager": {"job queue", "table"}, "worker": {"work queue", "table"}, "submit": {"table"}, "status": set()}


@pytest.mark.parametrize("component", TRIALS)
async def test_trials_show_which_roles_are_held(attempt, component):
    """What doctor tries is allowed with the roles of the component that needs it, and refused without."""
    allowed = set()

    async def try_all(broker, job_id, owner):
        for trial in broker.trials():
            try:
                await trial.call()
            except BrokerError:
                continue
            allowed.add(trial.what)

    await attempt(try_all, documented()[component])
    assert allowed == TRIALS[component]
