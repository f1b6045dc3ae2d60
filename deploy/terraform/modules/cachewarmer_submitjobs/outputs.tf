output "jobs" {
  description = "What was submitted: export and path of each job. With block_until_warm, all of it is warm when this is known."
  value       = values(local.jobs)
  depends_on  = [module.job]

  precondition {
    condition     = length(local.jobs) > 0
    error_message = "Nothing to warm: warm_paths has no path."
  }

  precondition {
    condition     = (var.warm_target_export_path == null) == (var.warm_target_path == null)
    error_message = "warm_target_export_path and warm_target_path must be given both or neither."
  }
}

output "module_depends_on_id" {
  description = "One for each job; changes when it is submitted anew."
  value       = { for name, job in module.job : name => job.id }
}
