"""What options become before a command starts."""

import pytest

from cachewarmer.choice.jobs import jobs_of
from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli import inputs
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.serving import FleetChoice, Service
from cachewarmer.errors import UsageError
from cachewarmer.model import Bandwidth, Hours, Priority


def test_every_option_of_a_selection_reaches_the_job(tmp_path):
    """Which files, by whom they are read, and what the job is called."""
    rules = tmp_path / "rules"
    rules.write_text("# textures\n+ *.tx\n- cache/\n")
    (job,) = jobs_of(
        ["cache1:/p"],
        Selection(
            include=("*.exr",),
            exclude=("tmp",),
            filter_from=(str(rules),),
            max_file_bytes=9,
            min_file_bytes=2,
            newer_than=5.0,
            snapshots=True,
            follow_links=True,
            one_file_system=True,
            hardlink_dedup=False,
            uid=0,
            gid=7,
            name="n",
            max_bandwidth=Bandwidth(3, (Hours(480, 1200, 2),)),
            transport="nfs",
            priority="high",
        ),
    )
    wanted = job.wanted
    assert (wanted.include, wanted.exclude, wanted.rules) == (("*.exr",), ("tmp",), ("+ *.tx", "- cache/"))
    assert (wanted.max_file_bytes, wanted.min_file_bytes, wanted.newer_than) == (9, 2, 5.0)
    assert (wanted.snapshots, wanted.follow_links, wanted.one_file_system) == (True, True, True)
    assert (wanted.hardlink_dedup, wanted.go_rules) == (False, False)
    assert (job.access.uid, job.access.gid, job.access.transport) == (0, 7, "nfs")
    assert (job.name, job.has_file_list, job.priority) == ("n", False, Priority.HIGH)
    assert (job.max_bandwidth, job.bandwidth) == (2, Bandwidth(3, (Hours(480, 1200, 2),)))


@pytest.mark.parametrize(("rate", "warned"), [(0, False), (1000, True), (64 * 1024, False)])
def test_a_very_low_rate_is_warned_of(caplog, rate, warned):
    """Somebody who writes 200 most likely means 200M; 0 means no limit."""
    jobs_of(["a:/p"], Selection(max_bandwidth=Bandwidth(rate)))
    assert ("is the unit right?" in caplog.text) == warned


def test_a_target_that_names_a_user_keeps_it():
    """The option is for targets that name none."""
    named, unnamed = jobs_of(["nfs://a/p?uid=5", "nfs://a/q"], Selection(uid=0, gid=1))
    assert [(job.access.uid, job.access.gid) for job in (named, unnamed)] == [(5, 1), (0, 1)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_rules_may_come_from_any_editor(tmp_path, encoding):
    """With a byte order mark or in UTF-16."""
    rules = tmp_path / "rules"
    rules.write_text("- caché/\r\n", encoding=encoding)
    (job,) = jobs_of(["a:/p"], Selection(filter_from=(str(rules),)))
    assert job.wanted.rules == ("- caché/",)


@pytest.mark.parametrize("content", [b"*.exr\n", b"- x\n" * 400_000])
def test_a_file_of_rules_that_makes_no_sense_is_wrong_usage(tmp_path, content):
    """Neither kept nor left out, or far too long."""
    rules = tmp_path / "rules"
    rules.write_bytes(content)
    with pytest.raises(UsageError, match="rules"):
        jobs_of(["a:/p"], Selection(filter_from=(str(rules),)))


def test_options_go_before_the_settings_file(monkeypatch, tmp_path):
    """What is not given stays as the file says; 0 seconds of patience is a value."""
    config = tmp_path / "c.toml"
    config.write_text(
        "[nfs]\nwindow_calls = 9\nconnections = 4\nuid = 3\ngid = 4\n[lease]\npatience_seconds = 60\n"
        '[fleet]\nkind = "local"\nworkers = 2\n[fleet.vmss]\nuser_name = "td"\n'
    )
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(config))
    kept = inputs.settings(Reading(), FleetChoice(), Service())
    assert (kept.nfs.window_calls, kept.nfs.connections, kept.nfs.uid, kept.nfs.gid) == (9, 4, 3, 4)
    assert (kept.lease.patience_seconds, kept.fleet.workers, kept.fleet.vmss.user_name) == (60, 2, "td")
    given = inputs.settings(
        Reading(window=5, connections=1, patience=0.0), FleetChoice(workers=7, user_name="me"), Service(uid=0, gid=0)
    )
    assert (given.nfs.window_calls, given.nfs.connections, given.nfs.uid, given.nfs.gid) == (5, 1, 0, 0)
    assert (given.lease.patience_seconds, given.fleet.workers, given.fleet.vmss.user_name) == (0, 7, "me")


def test_the_workers_of_this_machine_log_as_their_manager_does():
    """Into the same file, or in the same form on the standard error that they share."""
    choice = FleetChoice(kind="local", workers=2)
    output = Output(log_format="json", log_file="/var/log/cachewarmer/it.json")
    made = inputs.fleet(choice, Reading(), inputs.BrokerChoice(), inputs.settings(fleet=choice), output)
    assert made._own_command("n")[-4:] == ["--log-format", "json", "--log-file", "/var/log/cachewarmer/it.json"]


@pytest.mark.parametrize("choice", [FleetChoice(kind="local"), FleetChoice(workers=3)])
def test_a_fleet_needs_a_kind_and_a_number(choice):
    """Either alone is told before anything starts."""
    with pytest.raises(UsageError, match=r"--workers|--fleet"):
        inputs.fleet(choice, Reading(), inputs.BrokerChoice(), inputs.settings(fleet=choice))
