output "jobs" {
  description = "What was submitted: export and path of each job. With block_until_warm, all of it is warm when this is known."
  value       = values(local.jobs)
  depends_on  = [module.job]
}

output "module_depends_on_id" {
  description = "One for each job; changes when it is submitted anew."
  value       = { for name, job in module.job : name => job.id }
}
