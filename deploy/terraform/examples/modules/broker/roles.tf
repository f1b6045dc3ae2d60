# Who may do what. docs/azure.md has the same roles, with what each is needed for.

resource "azurerm_user_assigned_identity" "manager" {
  name                = "${var.identity_name_prefix}-manager"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_user_assigned_identity" "worker" {
  name                = "${var.identity_name_prefix}-worker"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

locals {
  manager = azurerm_user_assigned_identity.manager.principal_id
  worker  = azurerm_user_assigned_identity.worker.principal_id

  data_roles = {
    manager-queues = { who = local.manager, role = "Storage Queue Data Contributor", scope = azurerm_storage_account.broker.id }
    manager-table  = { who = local.manager, role = "Storage Table Data Contributor", scope = azurerm_storage_account.broker.id }
    worker-work    = { who = local.worker, role = "Storage Queue Data Contributor", scope = azurerm_storage_queue.queue["work"].id }
    worker-workhi  = { who = local.worker, role = "Storage Queue Data Contributor", scope = azurerm_storage_queue.queue["workhi"].id }
    worker-worklo  = { who = local.worker, role = "Storage Queue Data Contributor", scope = azurerm_storage_queue.queue["worklo"].id }
    worker-poison  = { who = local.worker, role = "Storage Queue Data Contributor", scope = azurerm_storage_queue.queue["poison"].id }
    worker-look    = { who = local.worker, role = "Storage Queue Data Reader", scope = azurerm_storage_account.broker.id }
    worker-table   = { who = local.worker, role = "Storage Table Data Contributor", scope = azurerm_storage_account.broker.id }
  }
}

resource "azurerm_role_assignment" "data" {
  for_each = local.data_roles

  principal_id         = each.value.who
  principal_type       = "ServicePrincipal"
  role_definition_name = each.value.role
  scope                = each.value.scope
}

# What the manager asks for when it starts and deletes workers, in this resource group and no other; the network is in it
# too. Which identity it may give them is said below, since a role here would let it give any.
resource "azurerm_role_definition" "fleet" {
  name        = "cachewarmer fleet ${var.account_name}"
  description = "Starts and deletes the scale set of cachewarmer's workers."
  scope       = var.resource_group_id

  permissions {
    actions = [
      "Microsoft.Compute/locations/operations/read",
      "Microsoft.Compute/virtualMachineScaleSets/delete",
      "Microsoft.Compute/virtualMachineScaleSets/delete/action",
      "Microsoft.Compute/virtualMachineScaleSets/read",
      "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
      "Microsoft.Compute/virtualMachineScaleSets/write",
      "Microsoft.Compute/virtualMachines/delete",
      "Microsoft.Compute/virtualMachines/read",
      "Microsoft.Network/networkInterfaces/read",
      "Microsoft.Network/virtualNetworks/subnets/join/action",
    ]
  }

  assignable_scopes = [var.resource_group_id]
}

resource "azurerm_role_assignment" "fleet" {
  principal_id       = local.manager
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.fleet.role_definition_resource_id
  scope              = var.resource_group_id
}

# To look at the workers' identity and give it to them.
resource "azurerm_role_assignment" "assign_identity" {
  principal_id         = local.manager
  principal_type       = "ServicePrincipal"
  role_definition_name = "Managed Identity Operator"
  scope                = azurerm_user_assigned_identity.worker.id
}
