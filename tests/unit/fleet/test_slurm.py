"""A fleet of Slurm jobs beyond what every fleet promises: what is said to Slurm's commands, and what is made of their answers."""

import asyncio
import os
import stat
import time
from dataclasses import replace

import pytest

from cachewarmer.broker.base import Backlog
from cachewarmer.config import FleetSettings, SlurmSettings, shared_environment
from cachewarmer.errors import CapacityError, FleetError, FleetUnavailable, UsageError
from cachewarmer.fleet import open_fleet
from cachewarmer.fleet.base import Action, FleetSize, WorkerLaunch
from cachewarmer.fleet.policy import Policy
from cachewarmer.fleet.slurm.commands import Phase, accounted_of, element_of, error_of
from cachewarmer.fleet.slurm.fleet import SlurmFleet, fleet_name
from cachewarmer.fleet.slurm.script import array_options, batch_script, worker_environment
from tests.slurm_standin.cluster import standin

URL = "postgresql://warm:s3cret@db/warm"
LAUNCH = WorkerLaunch(broker_url=URL, local_options=("--window", "8"), environment={"CACHEWARMER_NFS_UID": "7"})


def a_line(name="12_3", state="RUNNING", status="0", started="1795657555", ended="1827193555", reason="None"):
    return f"{name:<40}{state:<24}{status:<12}{started:<24}{ended:<24}{reason:<64}"


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "phase", "started", "ended"),
    [
        (a_line(), Phase.RUNNING, 1795657555, 0),
        (a_line(state="PENDING", started="1827193555", ended="NONE"), Phase.QUEUED, 0, 0),
        (a_line(state="PENDING", started="N/A", ended="N/A"), Phase.QUEUED, 0, 0),
        (a_line(state="COMPLETING", ended="1795657600"), Phase.LEAVING, 1795657555, 0),
        (a_line(state="NODE_FAIL", ended="1795657600"), Phase.ENDED, 1795657555, 1795657600),
        (a_line(state="SUSPENDED"), Phase.RUNNING, 1795657555, 0),
    ],
)
def test_a_line_of_squeue_is_an_element(line, phase, started, ended):
    """The times of what has not begun or ended are forecasts."""
    element = element_of(line)
    assert (element.name, element.phase, element.started_at, element.ended_at) == ("12_3", phase, started, ended)


def test_an_exit_status_is_a_code_or_a_signal():
    """As wait(2) has it."""
    assert element_of(a_line(state="FAILED", status="512")).exit_code == 2
    assert element_of(a_line(state="FAILED", status="9")).exit_code == 0


@pytest.mark.parametrize("line", ["slurm is on fire", a_line(name="12_[3-9]"), a_line(name="12"), "JOBID"])
def test_anything_else_from_squeue_is_an_error(line):
    """It is shown, and nothing is made of it."""
    with pytest.raises(FleetError, match="not an element of a job array"):
        element_of(line)


def test_the_accounting_says_what_became_of_an_element():
    """Steps and other lines are none."""
    element = accounted_of("12_3|CANCELLED by 1000|0:15|1795657555|1795657600")
    assert (element.state, element.exit_status, element.ended_at) == ("CANCELLED", 15, 1795657600)
    assert accounted_of("12_3|FAILED|2:0|1795657555|Unknown").exit_code == 2
    assert accounted_of("12_3.batch|FAILED|2:0|1|2") is None
    assert accounted_of("") is None


@pytest.mark.parametrize(
    ("complaint", "kind"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", FleetUnavailable),
        ("squeue: error: slurm_load_jobs error: Socket timed out on send/recv operation", FleetUnavailable),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", FleetUnavailable),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Job violates accounting/QOS policy", CapacityError),
        ("allocation failure: Required node not available (down, drained or reserved)", CapacityError),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", FleetError),
        ("allocation failure: Invalid feature specification", FleetError),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified", FleetError),
        ("", FleetError),
    ],
)  # fmt: skip
def test_a_complaint_is_an_error_of_its_kind(complaint, kind):
    """The commands have one exit code for all."""
    error = error_of(complaint.partition(":")[0] if complaint.startswith("squeue") else "sbatch", 1, complaint)
    assert type(error) is kind
    assert "error:" not in str(error)
    assert "\n" not in str(error)


# -- what is said -----------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_script_or_on_a_command_line():
    """The broker's URL is in the environment, which only the job's user may see; so is how the manager reads."""
    own = {
        "PGPASSWORD": "x",
        "CACHEWARMER_CONFIG": "/c",
        "VMSS_PASSWORD": "y",
        "NOTIFY_SOCKET": "/n",
        "https_proxy": "p",
    }
    settings = SlurmSettings(setup="module load cachewarmer", program="/opt/cache warmer", log_directory="/logs")
    script = batch_script(LAUNCH, settings)
    assert "s3cret" not in script + " ".join(array_options(settings, 3))
    assert "module load cachewarmer\n" in script
    assert "exec '/opt/cache warmer' worker --exit-when-idle 60 --window 8 --name " in script
    assert worker_environment(LAUNCH, settings, shared_environment(own)) == {
        "PGPASSWORD": "x",
        "CACHEWARMER_CONFIG": "/c",
        "https_proxy": "p",
        "CACHEWARMER_NFS_UID": "7",
        "CACHEWARMER_BROKER": URL,
    }


def test_the_broker_may_come_from_a_file_of_the_nodes():
    """Then it does not pass through Slurm at all."""
    settings = SlurmSettings(environment_file="/etc/warm it.env")
    assert "CACHEWARMER_BROKER" not in worker_environment(LAUNCH, settings, {"CACHEWARMER_BROKER": URL})
    assert ". '/etc/warm it.env' || exit 2\n" in batch_script(LAUNCH, settings)


def test_the_settings_become_options_and_the_site_s_own_come_last():
    """sbatch takes the last of two."""
    options = array_options(
        SlurmSettings(account="vfx", partition="night,day", time_limit="2:00:00", memory="2G", options=("--qos=low",)),
        8,
    )
    assert {"--array=0-7", "--account=vfx", "--partition=night,day", "--time=2:00:00", "--mem=2G"} < set(options)
    assert options[-1] == "--qos=low"
    assert not any(option.startswith("--constraint") for option in options)


@pytest.mark.parametrize(
    "option", ["--array=0-99", "--arr=0-99", "--wrap=rm", "-a0-3", "qos=low", "--qos low\n", "-M", "--requeue", ""]
)
def test_options_that_are_the_fleet_s_own_are_refused(option):
    """As is what is no option; abbreviations too."""
    with pytest.raises(UsageError):
        opened_as(options=(option,))


def test_usual_options_are_taken():
    """With and without a value, long and short."""
    opened_as(options=("--qos=low", "--exclusive", "-pnight", "--gres=gpu:0", "--nice=10000", "--reservation=warm"))


def test_a_broker_in_a_file_is_refused():
    """The nodes could not reach it."""
    with pytest.raises(UsageError, match="postgresql://"):
        open_fleet("slurm", FleetSettings(workers=1), WorkerLaunch(broker_url="sqlite:////x/b.db"))


def opened_as(**given):
    return open_fleet("slurm", FleetSettings(workers=1, slurm=SlurmSettings(**given)), LAUNCH)


def test_the_arrays_of_a_broker_have_one_name():
    """Whatever its password, which a name would give away a hash of."""
    name = fleet_name(URL)
    assert name == fleet_name(URL.replace("s3cret", "other")) == fleet_name(URL.replace(":s3cret", ""))
    assert fleet_name("postgresql://db/w?password=a&sslmode=require") == fleet_name("postgresql://db/w?sslmode=require")
    assert name != fleet_name("postgresql://warm@db/other")


# -- what happens -----------------------------------------------------------------------------------------------------

WAITS = "#!/bin/sh\nexec sleep 1000\n"
FINISHES = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 1000 & wait\n"
"""Ends with 0 when it is told to, as a worker does."""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with standin(tmp_path / "cluster", slots=2) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def a_fleet(script=WAITS, **given):
    return SlurmFleet(SlurmSettings(**given), LAUNCH, script=script, end_seconds=20)


async def seen(fleet, true):
    deadline = time.monotonic() + 30
    while not true(size := await fleet.observe()):
        assert time.monotonic() < deadline, size
        await asyncio.sleep(0.05)
    return size


async def test_what_waits_in_the_queue_is_there_but_does_not_run(cluster):
    """It is not asked for again, and is what a smaller number gives up."""
    fleet = a_fleet()
    await fleet.create(5)
    size = await seen(fleet, lambda size: size.running == 2)
    assert (size.queued, size.wanted) == (3, 5)
    await fleet.resize(5)
    assert len(cluster.elements) == 5
    await fleet.resize(1)
    size = await fleet.observe()
    assert (size.running, size.queued, size.wanted, size.evicted) == (2, 0, 2, 0)
    await fleet.delete()


async def test_the_work_s_end_cancels_what_waits_and_lets_the_others_finish(cluster):
    """What ran ends as a job that succeeded, not as one that was cancelled."""
    fleet = a_fleet(FINISHES)
    await fleet.create(4)
    await seen(fleet, lambda size: size.running == 2)
    await asyncio.sleep(0.3)  # the shells set their traps
    await fleet.delete()
    assert sorted(one["state"] for one in cluster.elements.values()) == [
        "CANCELLED",
        "CANCELLED",
        "COMPLETED",
        "COMPLETED",
    ]
    assert [one.end for one in fleet.ledger()] == ["deleted", "deleted"]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "TIMEOUT", "CANCELLED"])
async def test_what_slurm_takes_away_is_evicted(cluster, state):
    """And replaced by the same number again."""
    fleet = a_fleet()
    await fleet.create(2)
    await seen(fleet, lambda size: size.running == 2)
    cluster.take(state)
    await seen(fleet, lambda size: size.evicted == 1 and size.running == 1)
    await fleet.resize(2)
    await seen(fleet, lambda size: size.running == 2)
    await fleet.delete()


async def test_a_worker_that_has_nothing_to_do_ends_and_is_no_loss(cluster):
    """It is in the ledger; the fleet is there until it is deleted."""
    fleet = a_fleet("#!/bin/sh\nexit 0\n")
    await fleet.create(2)
    await seen(fleet, lambda size: [one.end for one in fleet.ledger()] == ["ended", "ended"])
    size = await fleet.observe()
    assert (size.is_there, size.running, size.evicted) == (True, 0, 0)
    await fleet.delete()
    assert not (await fleet.observe()).is_there


async def test_a_worker_that_fails_at_once_is_complained_of(cluster):
    """With where its log is; the next attempt is made all the same."""
    fleet = a_fleet("#!/bin/sh\nexit 2\n", log_directory=str(cluster.place))
    await fleet.create(1)
    await seen(fleet, lambda size: size.evicted == 1)
    with pytest.raises(FleetError, match=f"ended at once with exit code 2.*{cluster.place}"):
        await fleet.resize(1)
    await fleet.resize(1)
    assert len(cluster.elements) == 2


async def test_what_slurm_has_forgotten_is_looked_up_in_the_accounting(cluster):
    """Where there is none, nobody knows, and it counts as ended."""
    fleet = a_fleet()
    await fleet.create(2)
    await seen(fleet, lambda size: size.running == 2)
    cluster.turn("forget")
    cluster.turn("accounts")
    taken = cluster.take("NODE_FAIL")
    await seen(fleet, lambda size: size.running == 1)
    assert {one.name: one.end for one in fleet.ledger()}[taken] == "evicted"
    (cluster.place / "accounts").unlink()
    cluster.take("NODE_FAIL")
    await seen(fleet, lambda size: size.running == 0)
    assert sorted(one.end for one in fleet.ledger()) == ["ended", "evicted"]


async def test_an_earlier_manager_s_dead_are_not_ours(cluster):
    """Only what ends while this process looks counts."""
    first, second = a_fleet(), a_fleet()
    await first.create(2)
    await seen(first, lambda size: size.running == 2)
    cluster.take("PREEMPTED")
    await seen(first, lambda size: size.evicted == 1)
    size = await second.observe()
    assert (size.running, size.evicted, len(second.ledger())) == (1, 0, 1)
    await second.delete()


async def test_a_controller_that_does_not_answer_is_waited_for(cluster):
    """Every call says so, and works again afterwards."""
    fleet = a_fleet()
    cluster.fail("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    for call in (fleet.observe(), fleet.create(1), fleet.delete(), fleet.check()):
        with pytest.raises(FleetUnavailable, match="Unable to contact"):
            await call
    cluster.fail("")
    await fleet.check()
    assert not (await fleet.observe()).is_there


async def test_commands_that_are_missing_are_named(tmp_path, monkeypatch):
    """With what helps."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FleetError, match=r"squeue: .*where Slurm's commands are installed"):
        await a_fleet().observe()


async def test_slurm_gets_none_of_the_manager_s_environment_but_what_is_meant_for_it(cluster, monkeypatch):
    """Not the user's formats for squeue either, which would change what it prints."""
    monkeypatch.setenv("SQUEUE_FORMAT2", "State")
    monkeypatch.setenv("SOME_TOKEN", "t0ken")
    fleet = a_fleet()
    await fleet.create(1)
    environment = next(iter(cluster.elements.values()))["environment"]
    assert environment["CACHEWARMER_BROKER"] == URL
    assert not {"SQUEUE_FORMAT2", "SOME_TOKEN"} & environment.keys()
    assert all(stat.S_ISREG(os.stat(path).st_mode) for path in cluster.place.glob("*.sh"))
    assert not any("s3cret" in path.read_text() for path in cluster.place.glob("*.sh"))
    await fleet.delete()


async def test_more_workers_than_an_array_holds_are_several(cluster):
    """Slurm's default is 1001 elements."""
    cluster.slots(0)
    fleet = a_fleet()
    await fleet.create(1200)
    assert (await fleet.observe()).queued == 1200
    assert {name.partition("_")[0] for name in cluster.elements} == {"1", "1001"}
    await fleet.delete()
    assert not (await fleet.observe()).is_there


def test_the_policy_does_not_ask_again_for_what_is_queued():
    """Also not after a long time: the queue of a busy cluster takes hours."""
    policy = Policy(FleetSettings(workers=4), 0.0)
    work = Backlog(unsettled_items=100)
    assert policy.decide(0.0, work, FleetSize()).action is Action.CREATE
    size = FleetSize(exists=True, wanted=4, running=1, queued=3)
    assert policy.decide(5000.0, work, size).action is Action.NOTHING
    assert policy.decide(5000.0, work, replace(size, queued=2)).action is Action.SCALE_OUT
