output "ssh_command" {
  description = "Signs in on the controller."
  value       = "ssh -i ${var.ssh_private_key_path} ${var.admin_username}@${module.controller.public_ip_address}"
}

output "status_command" {
  description = "Shows the jobs; to be run on the controller."
  value       = "AZURE_CLIENT_ID=${module.broker.manager_identity.client_id} cachewarmer status --broker azure://${module.broker.account_name}/${var.queue_name_prefix}"
}

output "mount_addresses" {
  description = "Addresses of the HPC Cache."
  value       = azurerm_hpc_cache.cache.mount_addresses
}

output "warm" {
  description = "What was warmed."
  value       = module.jobs.jobs
}
