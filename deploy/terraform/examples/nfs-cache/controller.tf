data "azurerm_client_config" "current" {}

module "broker" {
  source = "../modules/broker"

  # A name that is free in all of Azure, and the same at every apply.
  account_name         = "warm${substr(sha256("${data.azurerm_client_config.current.subscription_id}/${var.resource_group_name}"), 0, 16)}"
  queue_name_prefix    = var.queue_name_prefix
  resource_group_name  = azurerm_resource_group.main.name
  resource_group_id    = azurerm_resource_group.main.id
  location             = var.location
  endpoint_subnet_id   = azurerm_subnet.main["endpoints"].id
  virtual_network_ids  = { main = azurerm_virtual_network.main.id }
  identity_name_prefix = var.name_prefix
  tags                 = var.tags
}

module "controller" {
  source = "../modules/vm"

  name                = "${var.name_prefix}-controller"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  subnet_id           = azurerm_subnet.main["controller"].id
  private_ip_address  = local.addresses.controller
  public_ip           = var.controller_public_ip
  size                = var.controller_vm_size
  image               = var.image
  image_id            = var.controller_image_id
  admin_username      = var.admin_username
  ssh_public_key      = file(pathexpand(var.ssh_public_key_path))
  cloud_config        = var.allow_internet ? "#cloud-config\n${yamlencode({ package_update = true, packages = ["nfs-common"] })}" : null
  identity_ids        = [module.broker.manager_identity.id]
  encryption_at_host  = var.encryption_at_host
  tags                = var.tags

  # Also so that they go last: what the modules installed is removed over SSH, and the manager deletes its workers.
  depends_on = [
    azurerm_subnet_nat_gateway_association.main,
    azurerm_subnet_network_security_group_association.main,
    azurerm_network_security_rule.ssh,
    azurerm_network_security_rule.resource_manager,
  ]
}
