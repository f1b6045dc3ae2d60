"""The first CacheWarmer's Terraform examples, with nothing changed but the sources of its modules and the path of the program.

What they call the modules with is written here anew, over stand-ins for the filer, the network and the cache, whose values are known
only at apply, as there.
"""

import pytest

from tests.deploy.terraform import Configuration, programs

OTHERS = """
variable "secret" {
  default   = "ReplacePassword$"
  sensitive = true
}

variable "ssh_key" {
  default = null
}

variable "install" {
  default = true
}

resource "terraform_data" "filer" {
  input = { address = "10.0.0.4", export = "/data" }
}

resource "terraform_data" "cache" {
  input = { addresses = ["10.0.1.7", "10.0.1.8", "10.0.1.9"] }
}

resource "terraform_data" "account" {
  input = { name = "storageaccount", group = "storage" }
}

resource "terraform_data" "jumpbox" {
  input = { address = "203.0.113.5", user = "azureuser" }
}

locals {
  filer   = terraform_data.filer.output
  cache   = terraform_data.cache.output
  account = terraform_data.account.output
  jumpbox = terraform_data.jumpbox.output
}
"""
SIGN_IN = """
  jumpbox_address      = local.jumpbox.address
  jumpbox_username     = local.jumpbox.user
  jumpbox_password     = var.secret
  jumpbox_ssh_key_data = var.ssh_key
"""
ACCOUNT = """
  storage_account    = local.account.name
  storage_account_rg = local.account.group
  queue_name_prefix  = "cachewarmer"
"""


def call(name, text, source="", more=""):
    return f'module "{name}" {{\n  source = "./deploy/terraform/modules/{source or name}"\n{more}{text}}}\n'


def example(
    *,
    counted="",
    sign_in=SIGN_IN,
    workers="length(local.cache.addresses) * 4",
    more="",
    waits="  block_until_warm = true\n",
):
    """The four calls. ``counted`` is a condition, where each has a count."""
    count = f"  count = {counted} ? 1 : 0\n" if counted else ""
    at = "[0]" if counted else ""
    folder = f"module.cachewarmer_prepare_bootstrapdir{at}"
    place = (
        f"  bootstrap_mount_address = {folder}.bootstrap_mount_address\n"
        f"  bootstrap_export_path   = {folder}.bootstrap_export_path\n"
        f"  bootstrap_worker_script_path = {folder}.cachewarmer_worker_bootstrap_script_path\n"
    )
    return (
        call(
            "cachewarmer_prepare_bootstrapdir",
            f"""{sign_in}{more}
  bootstrap_mount_address = local.filer.address
  bootstrap_export_path   = local.filer.export
  bootstrap_subdir        = "/tools/bootstrap"
  build_cachewarmer       = false
  cachewarmer_path        = "PROGRAM"
  depends_on              = [terraform_data.filer]
""",
            more=count,
        )
        + call(
            "cachewarmer_manager_install",
            f"""{sign_in}{more}{place}{ACCOUNT}
  bootstrap_manager_script_path = {folder}.cachewarmer_manager_bootstrap_script_path
  vmss_user_name      = local.jumpbox.user
  vmss_password       = var.secret
  vmss_ssh_public_key = var.ssh_key
  vmss_subnet_name    = "render_clients1"
  vmss_worker_count   = {workers}
  depends_on          = [module.cachewarmer_prepare_bootstrapdir, terraform_data.cache]
""",
            more=count,
        )
        + call(
            "cachewarmer_worker_install",
            f"{sign_in}{more}{place}{ACCOUNT}  depends_on = [module.cachewarmer_manager_install]\n",
            more=count,
        )
        + call(
            "cachewarmer_submitjobs",
            f"""{sign_in}{more}{ACCOUNT}
  warm_mount_addresses = join(",", tolist(local.cache.addresses))
  warm_paths = {{
    "${{local.filer.export}}" : ["/tools", "/island"],
  }}
  inclusion_csv    = "" // example "*.jpg,*.png"
  exclusion_csv    = ""
  maxFileSizeBytes = 0
{waits}  depends_on = [module.cachewarmer_worker_install]
""",
            more=count,
        )
    )


OLDER = """
  node_address   = local.jumpbox.address
  admin_username = local.jumpbox.user
  admin_password = var.secret
  ssh_key_data   = var.ssh_key
  ssh_port       = 22
  module_depends_on = [terraform_data.cache.id]
"""
EXAMPLES = {
    "hpc cache": (example(), 8),
    "vfxt": (example(workers="length(local.cache.addresses) * 2", waits=""), 8),
    "a farm whose pieces are counted": (example(counted="var.install", more='  proxy = "http://10.0.0.9:3128"\n'), 8),
    "one that is counted out": (example(counted="!var.install"), 0),
    "the names of before": (example(sign_in=OLDER), 8),
    "with the switch of before": (example(more="  deploy_cachewarmer = true\n"), 8),
}
STAND_INS = 4


@pytest.mark.parametrize(("text", "resources"), EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("program", programs())
def test_an_example_plans_as_it_is(tmp_path, program, text, resources):
    """In one go, before there is a filer, a cache or an account."""
    configuration = Configuration(tmp_path, program)
    executable = tmp_path / "cachewarmer"
    executable.write_text("#!/bin/sh\n")
    (tmp_path / "main.tf").write_text(OTHERS + text.replace("PROGRAM", str(executable)))
    done = configuration.run("init", "-backend=false", "-input=false", "-no-color")
    assert done.code == 0, done.output
    done = configuration.run("plan", "-input=false", "-no-color")
    assert done.code == 0, done.output
    assert f"Plan: {resources + STAND_INS} to add" in done.output
