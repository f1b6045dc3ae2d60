resource "azurerm_resource_group" "main" {
  name     = var.resource_group_name
  location = var.location
  tags     = var.tags
}

locals {
  networks = {
    render = { location = var.location, prefix = var.render_address_space }
    filer  = { location = var.filer_location, prefix = var.filer_address_space }
  }
  subnets = {
    controller = { network = "render", prefix = cidrsubnet(var.render_address_space, 8, 0) }
    cache      = { network = "render", prefix = cidrsubnet(var.render_address_space, 8, 1) }
    endpoints  = { network = "render", prefix = cidrsubnet(var.render_address_space, 8, 2) }
    workers    = { network = "render", prefix = cidrsubnet(var.render_address_space, 1, 1) }
    filer      = { network = "filer", prefix = var.filer_address_space }
  }
  # Azure keeps the first four addresses of a subnet.
  controller_address = cidrhost(local.subnets.controller.prefix, 4)
  filer_address      = cidrhost(local.subnets.filer.prefix, 4)
}

resource "azurerm_virtual_network" "main" {
  for_each = local.networks

  name                = "${var.name_prefix}-${each.key}"
  resource_group_name = azurerm_resource_group.main.name
  location            = each.value.location
  address_space       = [each.value.prefix]
  tags                = var.tags
}

resource "azurerm_virtual_network_peering" "main" {
  for_each = { render = "filer", filer = "render" }

  name                      = "to-${each.value}"
  resource_group_name       = azurerm_resource_group.main.name
  virtual_network_name      = azurerm_virtual_network.main[each.key].name
  remote_virtual_network_id = azurerm_virtual_network.main[each.value].id
}

resource "azurerm_subnet" "main" {
  for_each = local.subnets

  name                 = each.key
  resource_group_name  = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main[each.value.network].name
  address_prefixes     = [each.value.prefix]
}

# What comes in from outside is refused but for SSH to the controller; peered networks count as inside.
resource "azurerm_network_security_group" "main" {
  for_each = local.subnets

  name                = "${var.name_prefix}-${each.key}"
  resource_group_name = azurerm_resource_group.main.name
  location            = local.networks[each.value.network].location
  tags                = var.tags
}

resource "azurerm_network_security_rule" "ssh" {
  name                        = "ssh"
  resource_group_name         = azurerm_resource_group.main.name
  network_security_group_name = azurerm_network_security_group.main["controller"].name
  priority                    = 100
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Tcp"
  source_address_prefixes     = var.ssh_source_prefixes
  source_port_range           = "*"
  destination_address_prefix  = local.controller_address
  destination_port_range      = "22"
}

resource "azurerm_subnet_network_security_group_association" "main" {
  for_each = local.subnets

  subnet_id                 = azurerm_subnet.main[each.key].id
  network_security_group_id = azurerm_network_security_group.main[each.key].id
}
