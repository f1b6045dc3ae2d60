output "ssh_command" {
  description = "Signs in on the controller."
  value       = "ssh ${var.bastion_address == "" ? "" : "-J ${var.admin_username}@${var.bastion_address} "}-i ${var.ssh_private_key_path} ${var.admin_username}@${local.controller_address}"
}

output "status_command" {
  description = "Shows the jobs; to be run on the controller."
  value       = "AZURE_CLIENT_ID=${module.broker.manager_identity.client_id} cachewarmer status --broker azure://${module.broker.account_name}/${var.queue_name_prefix}"
}

output "cache_mount_command" {
  description = "Mounts the cache on a machine of the network."
  value       = "sudo mount -t nfs -o ro,vers=3,nolock ${module.cache.private_ip_address}:/data /mnt"
}

output "filer_address" {
  description = "Where the data is put."
  value       = module.filer.private_ip_address
}

output "warm" {
  description = "What was warmed."
  value       = module.jobs.jobs
}
