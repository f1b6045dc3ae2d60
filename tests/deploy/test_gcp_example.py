"""The example on Google Cloud beyond what every example must hold: what its VMs run, and that its judge finds faults."""

import importlib.util
import json
import re
import shutil
import subprocess

import pytest

from tests.deploy.published_schema import GOOGLE, provider_schema
from tests.deploy.terraform import programs
from tests.deploy.terraform_offline import EXAMPLES, offline
from tests.servers.need import need

EXAMPLE = EXAMPLES / "gcp-knfsd"


@pytest.fixture(scope="module")
def terraform(tmp_path_factory):
    with offline(tmp_path_factory.mktemp("gcp"), programs()[0]) as found:
        yield found


SPOILT = {
    "an argument that google does not have": (
        "manager.tf",
        "  tags    ",
        "  vm_size = 1\n  tags    ",
        "Unsupported argument",
    ),
    "an argument left out that google needs": (
        "workers.tf",
        "  min_replicas    = 0\n",
        "",
        "Missing required argument",
    ),
    "a block that google does not have": (
        "database.tf",
        "backup_configuration {",
        "backups {",
        "Unsupported block type",
    ),
    "a value of the wrong type": ("workers.tf", '"SPOT"', '["SPOT"]', "Incorrect attribute value type"),
    "an attribute that google does not give": (
        "outputs.tf",
        "main.private_ip_address",
        "main.private_address",
        "Unsupported attribute",
    ),
    "a value for what only google sets": (
        "manager.tf",
        "  tags    ",
        '  self_link = "x"\n  tags    ',
        "Value for unconfigurable attribute",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_wrong_is_found(terraform, what):
    """Each fault in a copy of the example, otherwise as it is."""
    name, good, bad, finding = SPOILT[what]
    copy = terraform.examples / "spoilt"
    shutil.copytree(terraform.examples / "gcp-knfsd", copy, ignore=shutil.ignore_patterns(".terraform*"))
    text = (copy / name).read_text()
    assert good in text
    (copy / name).write_text(text.replace(good, bad, 1))
    found = terraform.validate(copy)
    shutil.rmtree(copy)
    assert finding in found


def test_the_schema_is_googles():
    """A few facts that are in its documentation, one of each kind that the bindings are read for."""
    schema = provider_schema(GOOGLE, {"google_compute_instance", "google_nothing"}, {"google_compute_network"})
    assert set(schema["resource_schemas"]) == {"google_compute_instance"}
    machine = schema["resource_schemas"]["google_compute_instance"]["block"]
    assert machine["attributes"]["machine_type"] == {"type": "string", "required": True, "optional": False}
    assert machine["attributes"]["tags"]["type"] == ["set", "string"]
    assert machine["attributes"]["instance_id"] == {"type": "string", "computed": True}
    assert (machine["block_types"]["boot_disk"]["min_items"], machine["block_types"]["boot_disk"]["max_items"]) == (
        1,
        1,
    )


# -- what the VMs run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def startup(terraform):
    """A function: the startup script of a role, as Terraform renders it."""
    directory = terraform.examples / "gcp-knfsd"
    assert terraform.validate(directory) == ""

    def render(role):
        values = {
            "role": role,
            "bucket": "farm-cachewarmer",
            "secret": "projects/farm/secrets/broker/versions/latest",
            "project": "farm",
            "metric": "custom.googleapis.com/cachewarmer/files_left",
            "sums": "0" * 64 + "  cachewarmer\n",
            "targets": ["nfs://10.0.0.1/projects"] if role == "manager" else [],
        }
        given = ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        call = f'templatefile("scripts/startup.sh", {{{given}, gauge = file("scripts/files_left.py")}})'
        return terraform.root(directory).text(call, {"cachewarmer_path": "versions.tf", "database_password": "p" * 16})

    return render


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_shellcheck_finds_nothing_in_what_a_vm_runs(startup, tmp_path, role):
    """As it is rendered; only the manager's VM tells how many files are left."""
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    text = startup(role)
    script = tmp_path / "startup.sh"
    script.write_text(text)
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f'install.sh" {role}' in text
    assert ("cachewarmer-files-left" in text) == (role == "manager")


def test_the_folder_is_what_install_sh_needs(tmp_path):
    """Nothing of what prepare.sh puts into a bootstrap folder is missing, and nothing else is there."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    prepare = EXAMPLES.parents[1] / "bootstrap/prepare.sh"
    subprocess.run(
        ["sh", prepare, "--to", tmp_path / "folder", "--executable", program], check=True, capture_output=True
    )
    wanted = {str(path.relative_to(tmp_path / "folder")) for path in (tmp_path / "folder").rglob("*") if path.is_file()}
    text = (EXAMPLE / "program.tf").read_text()
    listed = {"cachewarmer", "backoff"}
    for names, prefix in re.findall(r'for name in \[(.*?)\] : (?:"(\w+/)\$\{name\}"|name)', text):
        listed |= {prefix + name for name in re.findall(r'"([^"]+)"', names)}
    assert listed | {"SHA256SUMS"} == wanted


@pytest.fixture(scope="module")
def gauge():
    spec = importlib.util.spec_from_file_location("files_left", EXAMPLE / "scripts/files_left.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_job(state, scanned=0, read=0):
    return {"state": state, "scanned_files": scanned, "files": read, "failed_files": 0, "vanished_files": 0}


@pytest.mark.parametrize(
    ("jobs", "left"),
    [
        ([], 0),
        ([a_job("completed", 9, 9), a_job("paused", 9), a_job("failed", 9)], 0),
        ([a_job("queued")], 1),
        ([a_job("scanning", 100, 40), a_job("warming", 7, 7)], 61),
    ],
)
def test_the_group_grows_with_the_files_that_are_left(gauge, jobs, left):
    """None for what is over or paused; at least one file while a job goes on, so that a worker comes."""
    assert gauge.files_left(jobs) == left


def test_a_point_is_what_the_monitoring_api_takes(gauge):
    """projects.timeSeries.create: a gauge of the type that the autoscaler asks for, with its time in RFC 3339."""
    (series,) = gauge.time_series("custom.googleapis.com/c/files_left", "farm", 7, 1_800_000_000.4)["timeSeries"]
    assert series["points"] == [{"interval": {"endTime": "2027-01-15T08:00:00Z"}, "value": {"int64Value": "7"}}]
    assert (series["metricKind"], series["valueType"], series["resource"]["type"]) == ("GAUGE", "INT64", "global")
    assert '"resource.type = \\"global\\""' in (EXAMPLE / "workers.tf").read_text()
