"""What the network does to the Azure broker: answers that are lost, a busy service, proxies, and no service at all."""

from __future__ import annotations

import asyncio
import re

import pytest

from cachewarmer.azure import calls as azure_calls
from cachewarmer.broker.azure.broker import AzureBroker
from cachewarmer.errors import BrokerError, BrokerUnavailable, ConfigError
from cachewarmer.model import JobState
from tests.conformance.labs import AzuriteLab, a_job, claim_some, finish_scan, receipt, scanning_job
from tests.servers.ports import free_port
from tests.servers.tamperer import Tamperer


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(azure_calls, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(azure_calls, "MOST_WAIT_SECONDS", 0.02)


@pytest.fixture
async def tampered(storage_account, quick_retries):
    """A lab whose table service is behind a tamperer."""
    port = int(re.search(r"TableEndpoint=http://127.0.0.1:(\d+)", storage_account)[1])
    async with Tamperer(port) as tamperer:
        lab = AzuriteLab(storage_account.replace(f"127.0.0.1:{port}", f"127.0.0.1:{tamperer.port}"))
        async with lab.handles:
            yield lab, tamperer


def batches(fates):
    """A rule: the fates of the entity-group transactions in turn; the last one stays."""
    left = list(fates)

    def rule(head):
        if "$batch" not in head.split("\r\n")[0]:
            return "pass"
        return left.pop(0) if len(left) > 1 else left[0]

    return rule


async def test_a_lost_answer_to_a_commit_counts_once(tampered):
    """The transaction went through and its answer did not: the repeat finds its own receipts, and says counted."""
    lab, tamperer = tampered
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 3)
    await finish_scan(broker, job_id, 3)
    leases = await claim_some(broker, lab, 3)
    tamperer.rule = batches(["lose", "pass"])
    assert await broker.complete("w", [(lease, receipt(lease)) for lease in leases[:2]]) == [True, True]
    assert await broker.complete("w", [(leases[2], receipt(leases[2]))]) == [True]
    status = await broker.status(job_id)
    assert [(tally.items, tally.bytes) for tally in status.tallies] == [(3, 6000)]
    assert status.state is JobState.COMPLETED


async def test_a_commit_nobody_hears_of_is_not_repeated(tampered):
    """All answers are lost: the caller hears that the service is gone, calls again, and nothing is counted twice."""
    lab, tamperer = tampered
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    leases = await claim_some(broker, lab, 2)
    results = [(lease, receipt(lease)) for lease in leases]
    committed = []

    def cut_off(head):
        committed.extend(["$batch"] if "$batch" in head.split("\r\n")[0] else [])
        return "lose" if committed else "pass"

    real, tamperer.rule = tamperer.rule, cut_off
    with pytest.raises(BrokerUnavailable):
        await broker.complete("w", results[:1])
    assert committed
    tamperer.rule = real
    assert (await broker.complete("w", results))[1]
    status = await broker.status(job_id)
    assert [(tally.items, tally.files) for tally in status.tallies] == [(2, 4)]


async def test_a_restarted_worker_goes_on_under_its_name(tampered):
    """A process that dies after the receipt and before the delete: its successor's second result does not count."""
    lab, _ = tampered
    one, two = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(one, lab, 2)
    leases = await claim_some(one, lab, 2)

    async def die(lease):
        raise asyncio.CancelledError

    one._work._let_go = die
    with pytest.raises(asyncio.CancelledError):
        await one.complete("w", [(leases[0], receipt(leases[0]))])
    await lab.expire()
    again = await claim_some(two, lab, 2, "w")
    counted = await two.complete("w", [(lease, receipt(lease)) for lease in again])
    assert sorted(counted) == [False, True]
    (tally,) = (await two.status(job_id)).tallies
    assert (tally.worker, tally.items, tally.bytes) == ("w", 2, 4000)


async def test_a_busy_service_is_asked_again(tampered):
    """503 some times, then it works; 503 for ever is transient for the caller."""
    lab, tamperer = tampered
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    answers = ["503", "503", "503"]
    tamperer.rule = lambda head: answers.pop() if answers else "pass"
    assert await broker.state(job_id) is JobState.QUEUED
    assert not answers
    tamperer.rule = lambda head: "503"
    with pytest.raises(BrokerUnavailable, match=r"ServerBusy|503"):
        await broker.state(job_id)


async def test_an_account_that_is_not_there(storage_account, quick_retries):
    """One line that says what to check, and no key in it."""
    key = re.search(r"AccountKey=([^;]+)", storage_account)[1]
    dead = re.sub(r"127.0.0.1:\d+", f"127.0.0.1:{free_port()}", storage_account)
    broker = AzureBroker("warmtest", "p", connection_string=dead)
    with pytest.raises(BrokerUnavailable) as caught:
        await broker.open()
    assert "\n" not in str(caught.value)
    assert key not in str(caught.value) + repr(broker) + repr(broker._sign_in)


async def test_a_wrong_key_is_not_transient_and_not_shown(storage_account):
    """The line names the roles that would do; neither key nor signature is in it."""
    wrong = re.sub(r"AccountKey=[^;]+", "AccountKey=c2VjcmV0LXNlY3JldA==", storage_account)
    broker = AzureBroker("warmtest", "p", connection_string=wrong)
    with pytest.raises(BrokerError, match="not allowed") as caught:
        await broker.open()
    assert not caught.value.transient
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("text", ["AccountName=other;AccountKey=eA==", "nonsense"])
async def test_a_connection_string_that_is_no_good(text):
    """A configuration error in one line that does not quote it."""
    with pytest.raises(ConfigError) as caught:
        await AzureBroker("warmtest", "p", connection_string=text).open()
    assert text not in str(caught.value)


async def test_a_proxy_of_the_environment_is_used_unless_excluded(storage_account, quick_retries, monkeypatch):
    """``http_proxy`` (``https_proxy`` for https) and ``no_proxy`` decide the way."""
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable):
        await AzureBroker("warmtest", "proxied", connection_string=storage_account).open()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with AzureBroker("warmtest", "proxied", connection_string=storage_account) as broker:
        assert await broker.jobs() == []
