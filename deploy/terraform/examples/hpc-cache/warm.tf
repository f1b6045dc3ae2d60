# The four modules, one after the other. All of them work over SSH on the controller.

locals {
  bootstrap_mount_options = "vers=3,nolock,hard,proto=tcp,mountproto=tcp,retry=2"
}

module "filer_ready" {
  source = "../modules/wait_for_export"

  host                 = module.controller.public_ip_address
  username             = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path

  server_id      = module.filer.id
  export_address = module.filer.private_ip_address
  export_path    = "/data"

  depends_on = [azurerm_virtual_network_peering.main]
}

module "bootstrap" {
  source = "../../modules/cachewarmer_prepare_bootstrapdir"

  jumpbox_address      = module.controller.public_ip_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path

  bootstrap_mount_address = module.filer_ready.address
  bootstrap_export_path   = "/data"
  bootstrap_mount_options = local.bootstrap_mount_options
  cachewarmer_path        = var.cachewarmer_path
}

module "manager" {
  source = "../../modules/cachewarmer_manager_install"

  jumpbox_address      = module.controller.public_ip_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path

  bootstrap_mount_address       = module.bootstrap.bootstrap_mount_address
  bootstrap_export_path         = module.bootstrap.bootstrap_export_path
  bootstrap_mount_options       = local.bootstrap_mount_options
  bootstrap_manager_script_path = module.bootstrap.cachewarmer_manager_bootstrap_script_path
  bootstrap_worker_script_path  = module.bootstrap.cachewarmer_worker_bootstrap_script_path
  bootstrap_version             = module.bootstrap.bootstrap_version
  bootstrap_sha256              = module.bootstrap.bootstrap_sha256

  storage_account   = module.broker.account_name
  queue_name_prefix = var.queue_name_prefix
  azure_client_id   = module.broker.manager_identity.client_id

  vmss_worker_count   = var.worker_count
  vmss_user_name      = var.admin_username
  vmss_ssh_public_key = trimspace(file(pathexpand(var.ssh_public_key_path)))
  vmss_subnet_name    = azurerm_subnet.main["workers"].name
  settings_toml       = <<-EOT
    [fleet.vmss]
    identity = ${jsonencode(module.broker.worker_identity.id)}
    image = ${jsonencode(join(":", [var.image.publisher, var.image.offer, var.image.sku, var.image.version]))}
    allow_internet = true
  EOT
}

# One worker is there at once, while the VMs still boot.
module "worker" {
  source = "../../modules/cachewarmer_worker_install"

  jumpbox_address      = module.controller.public_ip_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path

  bootstrap_mount_address      = module.bootstrap.bootstrap_mount_address
  bootstrap_export_path        = module.bootstrap.bootstrap_export_path
  bootstrap_mount_options      = local.bootstrap_mount_options
  bootstrap_worker_script_path = module.bootstrap.cachewarmer_worker_bootstrap_script_path
  bootstrap_version            = module.bootstrap.bootstrap_version
  bootstrap_sha256             = module.bootstrap.bootstrap_sha256

  storage_account   = module.broker.account_name
  queue_name_prefix = var.queue_name_prefix
  azure_client_id   = module.broker.manager_identity.client_id

  # The manager makes the table.
  depends_on = [module.manager]
}

module "jobs" {
  source = "../../modules/cachewarmer_submitjobs"

  jumpbox_address      = module.controller.public_ip_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path

  storage_account   = module.broker.account_name
  queue_name_prefix = var.queue_name_prefix
  azure_client_id   = module.broker.manager_identity.client_id

  warm_mount_addresses = join(",", azurerm_hpc_cache.cache.mount_addresses)
  warm_paths           = { (local.namespace_path) = var.warm_paths }
  block_until_warm     = var.block_until_warm

  depends_on = [module.manager, module.worker, azurerm_hpc_cache_nfs_target.filer]
}
