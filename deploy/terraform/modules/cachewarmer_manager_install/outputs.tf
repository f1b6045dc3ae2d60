output "service" {
  description = "The manager's systemd unit on the node."
  value       = "cachewarmer-manager.service"
  depends_on  = [module.installation]
}

output "module_depends_on_id" {
  description = "Changes when the manager is installed anew."
  value       = module.installation.id
}
