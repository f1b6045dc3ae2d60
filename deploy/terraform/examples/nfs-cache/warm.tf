# The four modules, one after the other. All of them work over SSH on the controller.

locals {
  bootstrap_mount_options = "vers=3,nolock,hard,proto=tcp,mountproto=tcp,retry=2"

  controller_address = var.controller_public_ip ? module.controller.public_ip_address : module.controller.private_ip_address

  worker_settings = {
    identity       = module.broker.worker_identity.id
    ssh_public_key = trimspace(file(pathexpand(var.ssh_public_key_path)))
    user_name      = var.admin_username
    vm_sizes       = join(",", var.worker_vm_sizes)
    image          = var.worker_image_id == null ? join(":", [var.image.publisher, var.image.offer, var.image.sku, var.image.version]) : var.worker_image_id
    subnet_name    = azurerm_subnet.main["workers"].name
    allow_internet = var.allow_internet
  }
  # A JSON string is a TOML string too, and so are numbers and booleans.
  settings_toml = "[fleet.vmss]\n${join("", [for key, value in local.worker_settings : "${key} = ${jsonencode(value)}\n"])}"
}

module "filer_ready" {
  source = "../modules/wait_for_export"

  host                 = local.controller_address
  username             = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  server_id      = module.filer.id
  export_address = module.filer.private_ip_address
  export_path    = "/data"
}

module "bootstrap" {
  source = "../../modules/cachewarmer_prepare_bootstrapdir"

  jumpbox_address      = local.controller_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  bootstrap_mount_address = module.filer_ready.address
  bootstrap_export_path   = "/data"
  bootstrap_mount_options = local.bootstrap_mount_options
  cachewarmer_path        = var.cachewarmer_path
}

module "manager" {
  source = "../../modules/cachewarmer_manager_install"

  jumpbox_address      = local.controller_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

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
  vmss_ssh_public_key = local.worker_settings.ssh_public_key
  vmss_subnet_name    = local.worker_settings.subnet_name
  settings_toml       = local.settings_toml
}

# One worker is there at once, while the VMs still boot.
module "worker" {
  source = "../../modules/cachewarmer_worker_install"

  jumpbox_address      = local.controller_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

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

# The cache sets itself up meanwhile; it exports nothing before it has mounted the filer.
module "cache_ready" {
  source = "../modules/wait_for_export"

  host                 = local.controller_address
  username             = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  server_id      = module.cache.id
  export_address = module.cache.private_ip_address
  export_path    = "/data"
}

module "jobs" {
  source = "../../modules/cachewarmer_submitjobs"

  jumpbox_address      = local.controller_address
  jumpbox_username     = var.admin_username
  ssh_private_key_path = var.ssh_private_key_path
  bastion_address      = var.bastion_address

  storage_account   = module.broker.account_name
  queue_name_prefix = var.queue_name_prefix
  azure_client_id   = module.broker.manager_identity.client_id

  warm_mount_addresses = module.cache_ready.address
  warm_paths           = { "/data" = var.warm_paths }
  inclusion_csv        = var.inclusion_csv
  exclusion_csv        = var.exclusion_csv
  maxFileSizeBytes     = var.max_file_size_bytes
  block_until_warm     = var.block_until_warm

  depends_on = [module.manager, module.worker]
}
