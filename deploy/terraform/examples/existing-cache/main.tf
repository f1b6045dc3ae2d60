# The four modules, one after the other, on hosts that are there already.

locals {
  hosts = setunion([var.manager_address], var.worker_addresses)
}

module "bootstrap" {
  source   = "../../modules/cachewarmer_prepare_bootstrapdir"
  for_each = local.hosts

  jumpbox_address      = each.key
  jumpbox_ssh_port     = var.ssh_port
  jumpbox_username     = var.admin_username
  jumpbox_password     = var.admin_password
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  bootstrap_export_path = var.bootstrap_directory
  cachewarmer_path      = var.cachewarmer_path
}

module "manager" {
  source = "../../modules/cachewarmer_manager_install"

  jumpbox_address      = var.manager_address
  jumpbox_ssh_port     = var.ssh_port
  jumpbox_username     = var.admin_username
  jumpbox_password     = var.admin_password
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  bootstrap_export_path         = module.bootstrap[var.manager_address].bootstrap_export_path
  bootstrap_manager_script_path = module.bootstrap[var.manager_address].cachewarmer_manager_bootstrap_script_path
  bootstrap_version             = module.bootstrap[var.manager_address].bootstrap_version
  bootstrap_sha256              = module.bootstrap[var.manager_address].bootstrap_sha256
  settings_toml                 = var.settings_toml
  vmss_worker_count             = 0 # the workers are the hosts below

  storage_account           = var.storage_account
  queue_name_prefix         = var.queue_name_prefix
  storage_connection_string = var.storage_connection_string
  azure_client_id           = var.azure_client_id
  proxy                     = var.proxy
}

module "worker" {
  source   = "../../modules/cachewarmer_worker_install"
  for_each = local.hosts

  jumpbox_address      = each.key
  jumpbox_ssh_port     = var.ssh_port
  jumpbox_username     = var.admin_username
  jumpbox_password     = var.admin_password
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  bootstrap_export_path        = module.bootstrap[each.key].bootstrap_export_path
  bootstrap_worker_script_path = module.bootstrap[each.key].cachewarmer_worker_bootstrap_script_path
  bootstrap_version            = module.bootstrap[each.key].bootstrap_version
  bootstrap_sha256             = module.bootstrap[each.key].bootstrap_sha256
  workers_per_host             = var.workers_per_host
  settings_toml                = var.settings_toml

  storage_account           = var.storage_account
  queue_name_prefix         = var.queue_name_prefix
  storage_connection_string = var.storage_connection_string
  azure_client_id           = var.azure_client_id
  proxy                     = var.proxy

  # Where the queues are not there yet, the manager makes them.
  depends_on = [module.manager]
}

module "jobs" {
  source = "../../modules/cachewarmer_submitjobs"

  jumpbox_address      = var.manager_address
  jumpbox_ssh_port     = var.ssh_port
  jumpbox_username     = var.admin_username
  jumpbox_password     = var.admin_password
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  storage_account           = var.storage_account
  queue_name_prefix         = var.queue_name_prefix
  storage_connection_string = var.storage_connection_string
  azure_client_id           = var.azure_client_id
  proxy                     = var.proxy

  warm_mount_addresses = join(",", var.cache_mount_addresses)
  warm_paths           = { (var.cache_export_path) = var.warm_paths }
  inclusion_csv        = var.inclusion_csv
  exclusion_csv        = var.exclusion_csv
  maxFileSizeBytes     = var.max_file_size_bytes
  block_until_warm     = var.block_until_warm
  warm_trigger         = var.warm_trigger

  depends_on = [module.manager, module.worker]
}
