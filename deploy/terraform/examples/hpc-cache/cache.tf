locals {
  namespace_path = "/nfs1data"
}

module "filer_config" {
  source = "../modules/cloud_config"

  name     = "nfs-filer"
  scripts  = ["filer.sh", "serve.sh"]
  packages = ["nfs-kernel-server"]
  environment = {
    FILER_DIRECTORY  = "/data"
    SAMPLE_FILES     = tostring(var.sample_files)
    EXPORT_DIRECTORY = "/data"
    # The cache asks as root; the controller fills the bootstrap folder as root, and the workers read it.
    EXPORT_TO = join(" ", [
      "${local.subnets.cache.prefix}(rw,mp,no_root_squash,no_subtree_check)",
      "${local.controller_address}(rw,mp,no_root_squash,no_subtree_check)",
      "${local.subnets.workers.prefix}(ro,mp,no_subtree_check)",
    ])
  }
}

module "filer" {
  source = "../modules/vm"

  name                = "${var.name_prefix}-filer"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.filer_location
  subnet_id           = azurerm_subnet.main["filer"].id
  private_ip_address  = local.filer_address
  size                = var.filer_vm_size
  image               = var.image
  admin_username      = var.admin_username
  ssh_public_key      = file(pathexpand(var.ssh_public_key_path))
  cloud_config        = module.filer_config.text
  data_disk_gb        = var.filer_disk_gb
  tags                = var.tags

  depends_on = [azurerm_subnet_network_security_group_association.main]
}

resource "azurerm_hpc_cache" "cache" {
  name                = "${var.name_prefix}-cache"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  subnet_id           = azurerm_subnet.main["cache"].id
  sku_name            = var.cache_throughput
  cache_size_in_gb    = var.cache_size_in_gb
  tags                = var.tags

  lifecycle {
    precondition {
      condition     = var.hpc_cache_can_be_made
      error_message = "Azure retired HPC Cache on 2025-09-30 and makes no new ones. Start from the example nfs-cache, or set hpc_cache_can_be_made where yours is an exception."
    }
  }
}

resource "azurerm_hpc_cache_nfs_target" "filer" {
  name                = "filer"
  resource_group_name = azurerm_resource_group.main.name
  cache_name          = azurerm_hpc_cache.cache.name
  target_host_name    = module.filer_ready.address
  usage_model         = var.usage_model

  namespace_junction {
    namespace_path = local.namespace_path
    nfs_export     = "/data"
  }

  # The cache looks at the export when it gets the target.
  depends_on = [azurerm_virtual_network_peering.main]
}
