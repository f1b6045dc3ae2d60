# The far filer and the cache in front of it. In an example they are neighbours; in earnest the filer is where your data is.

module "filer_config" {
  source = "../modules/cloud_config"

  name     = "nfs-filer"
  scripts  = ["filer.sh", "serve.sh"]
  packages = var.allow_internet ? ["nfs-kernel-server"] : []
  environment = {
    FILER_DIRECTORY  = "/data"
    SAMPLE_FILES     = tostring(var.sample_files)
    EXPORT_DIRECTORY = "/data"
    # The controller fills the bootstrap folder, as root. The cache asks on behalf of all its clients, root among them.
    EXPORT_TO = join(" ", [
      "${local.addresses.controller}(rw,mp,no_root_squash,no_subtree_check)",
      "${local.addresses.cache}(ro,mp,no_root_squash,no_subtree_check)",
      "${local.prefixes.workers}(ro,mp,no_subtree_check)",
    ])
  }
}

module "filer" {
  source = "../modules/vm"

  name                = "${var.name_prefix}-filer"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  subnet_id           = azurerm_subnet.main["servers"].id
  private_ip_address  = local.addresses.filer
  size                = var.filer_vm_size
  image               = var.image
  image_id            = var.filer_image_id
  admin_username      = var.admin_username
  ssh_public_key      = file(pathexpand(var.ssh_public_key_path))
  cloud_config        = module.filer_config.text
  data_disk_gb        = var.filer_disk_gb
  encryption_at_host  = var.encryption_at_host
  tags                = var.tags

  depends_on = [azurerm_subnet_nat_gateway_association.main, azurerm_subnet_network_security_group_association.main]
}

module "cache_config" {
  source = "../modules/cloud_config"

  name     = "nfs-cache"
  scripts  = ["cache.sh", "serve.sh"]
  packages = var.allow_internet ? ["cachefilesd", "mdadm", "nfs-kernel-server"] : []
  environment = {
    ORIGIN           = "${local.addresses.filer}:/data"
    CACHE_DIRECTORY  = "/data"
    MOUNT_OPTIONS    = "ro,vers=3,proto=tcp,hard,nolock,nocto,actimeo=600,rsize=1048576,nconnect=${var.cache_mount_connections}"
    EXPORT_DIRECTORY = "/data"
    # An NFS file system has no number of its own by which its handles could be told apart: fsid gives it one.
    EXPORT_TO    = "${var.address_space}(ro,mp,fsid=1,no_root_squash,no_subtree_check)"
    NFSD_THREADS = tostring(var.cache_nfsd_threads)
  }
}

module "cache" {
  source = "../modules/vm"

  name                = "${var.name_prefix}-cache"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  subnet_id           = azurerm_subnet.main["servers"].id
  private_ip_address  = local.addresses.cache
  size                = var.cache_vm_size
  image               = var.image
  image_id            = var.cache_image_id
  admin_username      = var.admin_username
  ssh_public_key      = file(pathexpand(var.ssh_public_key_path))
  cloud_config        = module.cache_config.text
  encryption_at_host  = var.encryption_at_host
  tags                = var.tags

  depends_on = [module.filer]
}
