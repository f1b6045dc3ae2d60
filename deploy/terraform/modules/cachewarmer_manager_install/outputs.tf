output "service" {
  description = "The manager's systemd unit on the node."
  value       = "cachewarmer-manager.service"
  depends_on  = [module.installation]

  precondition {
    condition     = !var.deploy_cachewarmer || var.vmss_worker_count == 0 || var.bootstrap_mount_address != ""
    error_message = "The VMs that the manager starts install themselves from an NFS export: vmss_worker_count above 0 (default: 12) needs bootstrap_mount_address."
  }

  precondition {
    condition     = !var.deploy_cachewarmer || var.vmss_worker_count == 0 || nonsensitive(try(coalesce(var.vmss_ssh_public_key, var.vmss_password), "") != "")
    error_message = "The VMs that the manager starts need somebody who may sign in: vmss_worker_count above 0 (default: 12) needs vmss_ssh_public_key or vmss_password."
  }
}

output "module_depends_on_id" {
  description = "Changes when the manager is installed anew."
  value       = one(module.installation[*].id)
}
