# The account that carries jobs and work. Nobody has its keys, and nobody reaches it from outside the networks named.

resource "azurerm_storage_account" "broker" {
  # checkov:skip=CKV_AZURE_206:What the account holds is of use for one job's time; var.replication sets it.
  # checkov:skip=CKV_AZURE_33:The classic logging of queues is set through the data plane, which is closed to the outside; use a diagnostic setting.
  # checkov:skip=CKV_AZURE_43:The variable's own validation checks the name; the scanner can't compute it.
  # checkov:skip=CKV2_AZURE_1:Encrypted with keys that Azure manages; it holds file names and counts, and no file's content.
  # checkov:skip=CKV2_AZURE_33:It has private endpoints, below; the check does not follow for_each.
  # checkov:skip=CKV2_AZURE_38:It holds no blobs that could be deleted.
  # checkov:skip=CKV2_AZURE_41:There are no SAS tokens: shared keys are switched off.
  name                = var.account_name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags

  account_kind             = "StorageV2"
  account_tier             = "Standard"
  account_replication_type = var.replication

  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  local_user_enabled              = false
  allow_nested_items_to_be_public = false
  public_network_access_enabled   = false
}

# Made here through Azure Resource Manager, so that a worker needs a role on four of them alone. The table can't be made
# so: azurerm makes tables through the account's own endpoint, which is closed to the machine where Terraform runs. The
# manager makes it at its first start.
resource "azurerm_storage_queue" "queue" {
  for_each = toset(["job", "jobhi", "joblo", "work", "workhi", "worklo", "poison"])

  name               = "${var.queue_name_prefix}${each.key}"
  storage_account_id = azurerm_storage_account.broker.id
}

resource "azurerm_private_dns_zone" "zone" {
  for_each = toset(["queue", "table"])

  name                = "privatelink.${each.key}.core.windows.net"
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "link" {
  for_each = {
    for pair in setproduct(["queue", "table"], keys(var.virtual_network_ids)) : "${pair[0]}-${pair[1]}" => {
      zone    = pair[0]
      network = var.virtual_network_ids[pair[1]]
    }
  }

  name                  = each.key
  resource_group_name   = var.resource_group_name
  private_dns_zone_name = azurerm_private_dns_zone.zone[each.value.zone].name
  virtual_network_id    = each.value.network
  tags                  = var.tags
}

resource "azurerm_private_endpoint" "endpoint" {
  for_each = azurerm_private_dns_zone.zone

  name                = "${var.account_name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  subnet_id           = var.endpoint_subnet_id
  tags                = var.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = azurerm_storage_account.broker.id
    subresource_names              = [each.key]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = each.key
    private_dns_zone_ids = [each.value.id]
  }
}
