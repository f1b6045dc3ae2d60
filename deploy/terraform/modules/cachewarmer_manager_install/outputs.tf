output "service" {
  description = "The manager's systemd unit on the node."
  value       = "cachewarmer-manager.service"
  depends_on  = [module.installation]

  precondition {
    condition     = var.vmss_worker_count == 0 || var.bootstrap_mount_address != ""
    error_message = "The VMs that the manager starts install themselves from an NFS export: vmss_worker_count above 0 needs bootstrap_mount_address."
  }
}

output "module_depends_on_id" {
  description = "Changes when the manager is installed anew."
  value       = module.installation.id
}
