locals {
  environment = merge(local.service, {
    ROLE_SCRIPT                  = var.bootstrap_worker_script_path
    CACHEWARMER_WORKERS_PER_HOST = tostring(var.workers_per_host)
  })
}

module "installation" {
  source = "../remote_script"
  count  = var.deploy_cachewarmer ? 1 : 0

  name       = "worker"
  connection = local.connection

  # Only a hash of the settings goes into the state, since there are secrets among them.
  triggers    = [sha256(jsonencode(local.environment)), var.bootstrap_version]
  environment = local.environment
  scripts     = ["folder.sh", "install_role.sh"]

  removal_scripts     = ["remove_role.sh"]
  removal_environment = { ROLE = "worker" }

  module_depends_on = var.module_depends_on
}
