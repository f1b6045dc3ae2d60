output "ssh_command" {
  description = "Signs in on the manager's host."
  value       = "ssh ${var.bastion_address == "" ? "" : "-J ${var.admin_username}@${var.bastion_address} "}-p ${var.ssh_port} -i ${var.ssh_private_key_path} ${var.admin_username}@${var.manager_address}"
}

output "status_command" {
  description = "Shows the jobs; to be run on the manager's host."
  value       = "${var.azure_client_id == null ? "" : "AZURE_CLIENT_ID=${var.azure_client_id} "}cachewarmer status --broker azure://${var.storage_account}/${var.queue_name_prefix}"
}

output "warm" {
  description = "What was warmed."
  value       = module.jobs.jobs
}
