"""The Terraform modules as they are written: nothing here signs in anywhere."""

import hashlib
import json
import re
import shutil
import subprocess
from functools import cache

import pytest

from tests.deploy.terraform import DEPLOY, MODULES, Configuration, Expression, programs
from tests.servers.need import need

PUBLIC = sorted(path.name for path in MODULES.glob("cachewarmer_*"))
NAMES = [*PUBLIC, "remote_script"]
SECRETS = {
    *("jumpbox_password", "admin_password", "ssh_private_key", "bastion_password", "proxy", "settings_toml"),
    *("storage_key", "storage_connection_string", "vmss_password"),
}
SSH = {"jumpbox_address": "node.invalid"}
STORAGE = {"storage_account": "account", "queue_name_prefix": "prefix"}
GIVEN = {
    "cachewarmer_prepare_bootstrapdir": {**SSH, "bootstrap_export_path": "/data", "cachewarmer_node_path": "/program"},
    "cachewarmer_manager_install": {
        **SSH,
        **STORAGE,
        "bootstrap_export_path": "/data",
        "bootstrap_mount_address": "filer",
        "vmss_ssh_public_key": "ssh-ed25519 AAAA",
    },
    "cachewarmer_worker_install": {**SSH, **STORAGE, "bootstrap_export_path": "/data"},
    "cachewarmer_submitjobs": {
        **SSH,
        **STORAGE,
        "warm_mount_addresses": "cache1,cache2",
        "warm_paths": {"/data": ["/tools", "/"]},
    },
}
"""What each module can't do without."""


@cache
def variables(module):
    """Name and text of each variable."""
    text = "".join(path.read_text() for path in sorted((MODULES / module).glob("*.tf")))
    return dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.DOTALL | re.MULTILINE))


@pytest.fixture(params=programs())
def configuration(request, tmp_path):
    return Configuration(tmp_path, request.param)


def plan(configuration, modules):
    configuration.write(modules)
    configuration.initialise()
    done = configuration.run("plan", "-input=false", "-no-color")
    return done.code, " ".join(done.output.replace("│", " ").split())


def test_the_text_is_formatted(configuration):
    """As the program itself would write it."""
    done = configuration.run("fmt", "-check", "-diff", "-recursive", str(DEPLOY / "terraform"))
    assert done.code == 0, done.output


@pytest.mark.parametrize("module", NAMES)
def test_a_module_is_valid_and_needs_no_provider(configuration, module):
    """``init`` would have to download one, and there is nowhere to download it from."""
    (configuration.directory / "main.tf.json").write_text("{}")
    arguments = (f"-chdir={configuration.directory / 'deploy/terraform/modules' / module}",)
    (configuration.directory / "data").mkdir()
    for command in (("init", "-backend=false", "-input=false"), ("validate",)):
        done = configuration.run(*arguments, *command, "-no-color", data=configuration.directory / "data")
        assert done.code == 0, done.output
    assert "Installing" not in done.output


@pytest.mark.parametrize("name", ["connection.tf", "storage.tf", "folder.tf", "service.tf", "versions.tf"])
def test_modules_with_the_same_variables_have_them_from_the_same_text(name):
    """A module can't take variables from another, so there are copies; nothing in them may differ."""
    texts = {path.read_text() for path in MODULES.glob(f"*/{name}")}
    assert len(texts) == 1


@pytest.mark.parametrize("module", PUBLIC)
def test_each_variable_is_typed_described_and_in_the_readme(module):
    """And those that hold secrets are sensitive, and no others."""
    readme = (MODULES / module / "README.md").read_text()
    for name, text in variables(module).items():
        assert re.search(r"^  type +=", text, re.MULTILINE), name
        assert re.search(r"^  description +=", text, re.MULTILINE), name
        assert f"`{name}`" in readme, name
        assert bool(re.search(r"^  sensitive += true", text, re.MULTILINE)) == (name in SECRETS), name
    for output in re.findall(r'^output "(\w+)"', (MODULES / module / "outputs.tf").read_text(), re.MULTILINE):
        assert f"`{output}`" in readme, output


def shellcheck(text, *flags):
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    command = ["shellcheck", "--shell=sh", *flags, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout


COMBINED = [
    ("folder.sh", "prepare_folder.sh"),
    ("folder.sh", "remove_folder.sh"),
    ("folder.sh", "install_role.sh"),
    ("remove_role.sh",),
    ("submit_jobs.sh",),
]


@pytest.mark.parametrize("names", COMBINED, ids=" ".join)
def test_shellcheck_finds_nothing_in_what_runs_on_a_node(names):
    """Put together as it is there."""
    prologue, *rest = ((MODULES / "remote_script/scripts" / name).read_text() for name in ("prologue.sh", *names))
    text = (
        prologue + "give NAME 'value'\n" + 'unpack() { echo "$1"; }\n' * ("prepare_folder.sh" in names) + "".join(rest)
    )
    # SC2034: mounted is used by some that come after.
    assert shellcheck(text, "--exclude=SC2034") == ""


@pytest.mark.parametrize("name", ["as_root.sh", "as_user.sh"])
def test_shellcheck_finds_nothing_in_what_starts_it(name):
    """These two run as they are."""
    text = "directory=$PWD/x\n" + (MODULES / "remote_script/scripts" / name).read_text()
    assert shellcheck(text) == ""


def test_the_least_that_must_be_given_is_enough(configuration):
    """For all four together: each has its script to run, three have something to remove, and the jobs have a name."""
    code, said = plan(configuration, GIVEN)
    assert code == 0, said
    assert "Plan: 8 to add" in said


WRONG = [
    ("cachewarmer_prepare_bootstrapdir", {"jumpbox_address": None}, "No node is named"),
    ("cachewarmer_prepare_bootstrapdir", {"jumpbox_address": "two words"}, "must be a host name"),
    ("cachewarmer_prepare_bootstrapdir", {"jumpbox_ssh_port": 70000}, "from 1 to 65535"),
    ("cachewarmer_prepare_bootstrapdir", {"jumpbox_ssh_key_data": "BEGIN PRIVATE KEY"}, "is the public key"),
    ("cachewarmer_prepare_bootstrapdir", {"ssh_private_key": "~/.ssh/id_rsa"}, "ssh_private_key_path"),
    ("cachewarmer_prepare_bootstrapdir", {"ssh_timeout": "soon"}, "90s or 5m"),
    ("cachewarmer_prepare_bootstrapdir", {"proxy": "10.0.0.4:3128"}, "http://10.0.0.4:3128"),
    ("cachewarmer_prepare_bootstrapdir", {"bootstrap_mount_address": "filer:/x"}, "must be a host name"),
    ("cachewarmer_prepare_bootstrapdir", {"bootstrap_export_path": "data"}, "begin with a slash"),
    ("cachewarmer_prepare_bootstrapdir", {"bootstrap_subdir": "/../etc"}, "such as /bootstrap"),
    ("cachewarmer_prepare_bootstrapdir", {"cachewarmer_node_path": None}, "exactly one of"),
    ("cachewarmer_prepare_bootstrapdir", {"cachewarmer_url": "https://releases.invalid/x"}, "exactly one of"),
    ("cachewarmer_prepare_bootstrapdir", {"cachewarmer_path": "/no/such/file"}, "names no file"),
    ("cachewarmer_prepare_bootstrapdir", {"cachewarmer_url": "ftp://x"}, "must begin with https"),
    ("cachewarmer_prepare_bootstrapdir", {"cachewarmer_sha256": "abc"}, "64 hexadecimal digits"),
    ("cachewarmer_prepare_bootstrapdir", {"build_cachewarmer": True}, "make bundle"),
    ("cachewarmer_manager_install", {"storage_account": "My_Account"}, "3 to 24"),
    ("cachewarmer_manager_install", {"queue_name_prefix": "a--b"}, "1 to 57"),
    ("cachewarmer_manager_install", {"storage_connection_string": "a\nb"}, "must be one line"),
    ("cachewarmer_manager_install", {"vmss_worker_count": 1.5}, "whole number from 0 to 1000"),
    ("cachewarmer_manager_install", {"bootstrap_mount_address": ""}, "(default: 12) needs bootstrap_mount_address"),
    ("cachewarmer_manager_install", {"vmss_ssh_public_key": None}, "needs vmss_ssh_public_key or vmss_password"),
    ("cachewarmer_manager_install", {"vmss_ssh_public_key": ""}, "needs vmss_ssh_public_key or vmss_password"),
    ("cachewarmer_manager_install", {"nfs_uid": -2}, "nfs_uid must be a whole number"),
    ("cachewarmer_manager_install", {"bootstrap_sha256": "abc"}, "64 hexadecimal digits"),
    ("cachewarmer_submitjobs", {"warm_uid": 0.5}, "warm_uid must be a whole number"),
    ("cachewarmer_manager_install", {"bootstrap_manager_script_path": "x.sh"}, "begin with a slash"),
    ("cachewarmer_worker_install", {"workers_per_host": 0}, "whole number from 1 to 256"),
    ("cachewarmer_submitjobs", {"warm_mount_addresses": "a,,b"}, "separated by commas"),
    ("cachewarmer_submitjobs", {"warm_paths": {"/data": ["tools"]}}, "must begin with a slash"),
    ("cachewarmer_submitjobs", {"warm_paths": {}}, "Nothing to warm"),
    ("cachewarmer_submitjobs", {"warm_target_path": "/tools"}, "both or neither"),
    ("cachewarmer_submitjobs", {"maxFileSizeBytes": -1}, "whole number from 0"),
]


@pytest.mark.parametrize(("module", "changed", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_refused_before_anything_is_done(configuration, module, changed, said):
    """With the reason, by ``plan``."""
    code, output = plan(configuration, {module: GIVEN[module] | changed})
    assert code == 1
    assert said in output


def test_the_names_of_earlier_versions_are_taken(configuration):
    """``node_address`` and the others, and the single path of a job."""
    older = {
        **STORAGE,
        "node_address": "node.invalid",
        "admin_username": "o'brien",
        "admin_password": "secret",
        "ssh_key_data": "ssh-rsa AAAA",
        "ssh_port": 2022,
        "warm_mount_addresses": "cache",
        "warm_target_export_path": "/data",
        "warm_target_path": "/island",
        "module_depends_on": ["something"],
    }
    code, output = plan(configuration, {"cachewarmer_submitjobs": older})
    assert code == 0, output
    assert re.search(r'export += "/data" \+ path += "/island"', output)
    code, output = plan(
        configuration,
        {
            "cachewarmer_manager_install": GIVEN["cachewarmer_manager_install"]
            | {"jumpbox_username": None}
            | {key: older[key] for key in ("admin_username", "admin_password", "ssh_key_data", "ssh_port")}
        },
    )
    assert code == 0, output
    assert re.search(r"user += \"o'brien\"", output)
    assert re.search(r"password += \(sensitive value\)", output)


def test_a_plan_shows_no_secret(configuration):
    """Of any module: what is marked sensitive stays so all the way."""
    secrets = {name: f"S3cr3t-{name}" for name in SECRETS}
    secrets |= {"proxy": "http://S3cr3t-proxy:1", "ssh_private_key": "-----BEGIN PRIVATE KEY----- S3cr3t"}
    modules = {
        module: GIVEN[module] | {name: value for name, value in secrets.items() if name in variables(module)}
        for module in PUBLIC
    }
    code, output = plan(configuration, modules)
    assert code == 0, output
    assert "S3cr3t" not in output


UNKNOWN = {
    "a path": '{"/data" = [terraform_data.other.id]}',
    "an export": '{(terraform_data.other.id) = ["/tools"]}',
    "all of it": "{for one in [terraform_data.other.id] : one => [one]}",
}


@pytest.mark.parametrize("paths", UNKNOWN.values(), ids=UNKNOWN)
def test_what_to_warm_may_be_known_only_at_apply(configuration, paths):
    """As the export of a filer that is made by the same apply."""
    (configuration.directory / "other.tf").write_text('resource "terraform_data" "other" {}\n')
    job = GIVEN["cachewarmer_submitjobs"] | {"warm_paths": Expression(paths)}
    code, output = plan(configuration, {"cachewarmer_submitjobs": job})
    assert code == 0, output
    assert "Plan: 3 to add" in output


def test_nothing_is_done_where_that_is_said(configuration):
    """``deploy_cachewarmer = false``, as in earlier versions: not even what is missing counts then."""
    off = {module: GIVEN[module] | {"deploy_cachewarmer": False} for module in PUBLIC}
    off["cachewarmer_manager_install"] |= {"vmss_ssh_public_key": None}
    code, output = plan(configuration, off)
    assert code == 0, output
    assert "Plan: 1 to add" in output, "what names the jobs"


def test_the_sum_that_terraform_knows_is_that_of_the_folder(configuration, tmp_path):
    """What is prepared has it, to the byte: the install modules would run nothing else."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    folder = GIVEN["cachewarmer_prepare_bootstrapdir"] | {
        "cachewarmer_path": str(program),
        "cachewarmer_node_path": None,
    }
    configuration.write({"cachewarmer_prepare_bootstrapdir": folder})
    output = 'output "told" {\n  value = module.cachewarmer_prepare_bootstrapdir.bootstrap_sha256\n}\n'
    (configuration.directory / "told.tf").write_text(output)
    configuration.initialise()
    known = configuration.run("plan", "-input=false", "-no-color", "-out=it")
    assert known.code == 0, known.output
    shown = json.loads(configuration.run("show", "-json", "it").output)
    told = shown["planned_values"]["outputs"]["told"]["value"]
    command = ["sh", DEPLOY / "bootstrap/prepare.sh", "--to", tmp_path / "folder", "--executable", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told == hashlib.sha256((tmp_path / "folder/SHA256SUMS").read_bytes()).hexdigest()
    assert told in said
