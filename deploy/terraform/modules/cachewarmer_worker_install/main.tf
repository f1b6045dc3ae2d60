locals {
  environment = {
    ROLE_SCRIPT                     = var.bootstrap_worker_script_path
    BOOTSTRAP_MOUNT_ADDRESS         = var.bootstrap_mount_address
    BOOTSTRAP_EXPORT_PATH           = var.bootstrap_export_path
    BOOTSTRAP_MOUNT_OPTIONS         = var.bootstrap_mount_options
    INSTALL_NFS_CLIENT              = tostring(var.install_nfs_client)
    STORAGE_ACCOUNT                 = var.storage_account
    STORAGE_ACCOUNT_RESOURCE_GROUP  = var.storage_account_rg
    STORAGE_KEY                     = var.storage_key
    AZURE_STORAGE_CONNECTION_STRING = var.storage_connection_string
    AZURE_STORAGE_ENDPOINT_SUFFIX   = var.storage_endpoint_suffix
    AZURE_CLIENT_ID                 = var.azure_client_id
    AZURE_SUBSCRIPTION_ID           = var.azure_subscription_id
    QUEUE_PREFIX                    = var.queue_name_prefix
    CACHEWARMER_WORKERS_PER_HOST    = tostring(var.workers_per_host)
    CACHEWARMER_SETTINGS            = var.settings_toml
    CACHEWARMER_KERNEL_MOUNTS       = var.kernel_mounts ? "1" : ""
    http_proxy                      = var.proxy
    https_proxy                     = var.proxy
    no_proxy                        = var.proxy == null ? null : var.no_proxy
  }
}

module "installation" {
  source = "../remote_script"

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
