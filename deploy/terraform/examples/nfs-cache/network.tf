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
  # Without the Internet the manager still asks Azure Resource Manager for workers, and that has no address within.
  with_way_out = toset(var.allow_internet ? ["controller", "servers", "workers"] : var.worker_count > 0 ? ["controller"] : [])
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

# Of the ways out, all are closed but that to Azure Resource Manager. The storage account has an address within, and so has
# the service that signs identities in.
resource "azurerm_network_security_rule" "resource_manager" {
  count = var.allow_internet ? 0 : 1

  name                        = "resource-manager"
  resource_group_name         = azurerm_resource_group.main.name
  network_security_group_name = azurerm_network_security_group.main["controller"].name
  priority                    = 100
  direction                   = "Outbound"
  access                      = "Allow"
  protocol                    = "Tcp"
  source_address_prefix       = local.addresses.controller
  source_port_range           = "*"
  destination_address_prefix  = "AzureResourceManager"
  destination_port_range      = "443"
}

resource "azurerm_network_security_rule" "no_internet" {
  for_each = { for name, prefix in local.prefixes : name => prefix if !var.allow_internet }

  name                        = "no-internet"
  resource_group_name         = azurerm_resource_group.main.name
  network_security_group_name = azurerm_network_security_group.main[each.key].name
  priority                    = 200
  direction                   = "Outbound"
  access                      = "Deny"
  protocol                    = "*"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "Internet"
  destination_port_range      = "*"
}

# The way out itself: subnets have none of their own.
resource "azurerm_public_ip" "nat" {
  count = length(local.with_way_out) > 0 ? 1 : 0

  name                = "${var.name_prefix}-nat"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = var.tags
}

resource "azurerm_nat_gateway" "main" {
  count = length(local.with_way_out) > 0 ? 1 : 0

  name                = "${var.name_prefix}-nat"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  sku_name            = "Standard"
  tags                = var.tags
}

resource "azurerm_nat_gateway_public_ip_association" "main" {
  count = length(local.with_way_out) > 0 ? 1 : 0

  nat_gateway_id       = azurerm_nat_gateway.main[0].id
  public_ip_address_id = azurerm_public_ip.nat[0].id
}

resource "azurerm_subnet_nat_gateway_association" "main" {
  for_each = local.with_way_out

  subnet_id      = azurerm_subnet.main[each.key].id
  nat_gateway_id = azurerm_nat_gateway.main[0].id
  depends_on     = [azurerm_nat_gateway_public_ip_association.main]
}
