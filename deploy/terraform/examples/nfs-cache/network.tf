resource "azurerm_resource_group" "main" {
  name     = var.resource_group_name
  location = var.location
  tags     = var.tags
}

resource "azurerm_virtual_network" "main" {
  name                = "${var.name_prefix}-net"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  address_space       = [var.address_space]
  tags                = var.tags
}

locals {
  prefixes = {
    controller = cidrsubnet(var.address_space, 3, 0)
    servers    = cidrsubnet(var.address_space, 3, 1)
    endpoints  = cidrsubnet(var.address_space, 3, 2)
    workers    = cidrsubnet(var.address_space, 1, 1)
  }
  # Azure keeps the first four addresses of a subnet. Known before anything is made, so each VM can be told of the others.
  addresses = {
    controller = cidrhost(local.prefixes.controller, 4)
    filer      = cidrhost(local.prefixes.servers, 4)
    cache      = cidrhost(local.prefixes.servers, 5)
  }
  with_internet = var.allow_internet ? ["controller", "servers", "workers"] : []
}

resource "azurerm_subnet" "main" {
  for_each = local.prefixes

  name                            = each.key
  resource_group_name             = azurerm_resource_group.main.name
  virtual_network_name            = azurerm_virtual_network.main.name
  address_prefixes                = [each.value]
  default_outbound_access_enabled = false
}

# What comes in from outside the network is refused but for SSH to the controller; within it Azure's default rule lets NFS
# and HTTPS through.
resource "azurerm_network_security_group" "main" {
  for_each = local.prefixes

  name                = "${var.name_prefix}-${each.key}"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
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
  destination_address_prefix  = local.addresses.controller
  destination_port_range      = "22"
}

resource "azurerm_subnet_network_security_group_association" "main" {
  for_each = local.prefixes

  subnet_id                 = azurerm_subnet.main[each.key].id
  network_security_group_id = azurerm_network_security_group.main[each.key].id
}

# The way out, for packages and for signing in; without it only what is in the network can be reached.
resource "azurerm_public_ip" "nat" {
  count = var.allow_internet ? 1 : 0

  name                = "${var.name_prefix}-nat"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = var.tags
}

resource "azurerm_nat_gateway" "main" {
  count = var.allow_internet ? 1 : 0

  name                = "${var.name_prefix}-nat"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  sku_name            = "Standard"
  tags                = var.tags
}

resource "azurerm_nat_gateway_public_ip_association" "main" {
  count = var.allow_internet ? 1 : 0

  nat_gateway_id       = azurerm_nat_gateway.main[0].id
  public_ip_address_id = azurerm_public_ip.nat[0].id
}

resource "azurerm_subnet_nat_gateway_association" "main" {
  for_each = toset(local.with_internet)

  subnet_id      = azurerm_subnet.main[each.key].id
  nat_gateway_id = azurerm_nat_gateway.main[0].id
  depends_on     = [azurerm_nat_gateway_public_ip_association.main]
}
