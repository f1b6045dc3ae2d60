locals {
  environment = merge(local.service, {
    ROLE_SCRIPT       = var.bootstrap_manager_script_path
    BOOTSTRAP_SCRIPT  = var.bootstrap_worker_script_path
    VMSS_WORKER_COUNT = tostring(var.vmss_worker_count)
    VMSS_USERNAME     = var.vmss_user_name
    VMSS_PASSWORD     = var.vmss_password
    VMSS_SSHPUBLICKEY = var.vmss_ssh_public_key
    VMSS_SUBNET       = var.vmss_subnet_name
  })
}

module "installation" {
  source = "../remote_script"
  count  = var.deploy_cachewarmer ? 1 : 0

  name       = "manager"
  connection = local.connection

  # Only a hash of the settings goes into the state, since there are secrets among them.
  triggers    = [sha256(jsonencode(local.environment)), var.bootstrap_version]
  environment = local.environment
  scripts     = ["folder.sh", "install_role.sh"]

  removal_scripts     = ["remove_role.sh"]
  removal_environment = { ROLE = "manager" }

  module_depends_on = var.module_depends_on
}
