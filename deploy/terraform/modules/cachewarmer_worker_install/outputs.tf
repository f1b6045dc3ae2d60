output "services" {
  description = "The workers' systemd units on the host."
  value       = var.workers_per_host == 1 ? ["cachewarmer-worker.service"] : [for number in range(1, var.workers_per_host + 1) : "cachewarmer-worker@${number}.service"]
  depends_on  = [module.installation]
}

output "module_depends_on_id" {
  description = "Changes when the workers are installed anew."
  value       = one(module.installation[*].id)
}
