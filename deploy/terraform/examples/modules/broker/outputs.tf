# Everything here is known only when the roles and the endpoints are there: who uses the account waits for them.

output "account_name" {
  description = "Name of the storage account."
  value       = azurerm_storage_account.broker.name
  depends_on  = [azurerm_private_endpoint.endpoint, azurerm_private_dns_zone_virtual_network_link.link, azurerm_role_assignment.data]
}

output "manager_identity" {
  description = "The identity of the manager's VM: id and client_id."
  value = {
    id        = azurerm_user_assigned_identity.manager.id
    client_id = azurerm_user_assigned_identity.manager.client_id
  }
  depends_on = [azurerm_role_assignment.data, azurerm_role_assignment.fleet, azurerm_role_assignment.assign_identity]
}

output "worker_identity" {
  description = "The identity of the workers: id and client_id."
  value = {
    id        = azurerm_user_assigned_identity.worker.id
    client_id = azurerm_user_assigned_identity.worker.client_id
  }
  depends_on = [azurerm_role_assignment.data]
}

output "data_roles" {
  description = "Who may do what with the account: principal, role and scope."
  value       = [for one in azurerm_role_assignment.data : { who = one.principal_id, role = one.role_definition_name, scope = one.scope }]
}
