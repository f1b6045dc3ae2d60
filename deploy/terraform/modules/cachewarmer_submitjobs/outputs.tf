output "jobs" {
  description = "What was submitted: export and path of each job. With block_until_warm, all of it is warm when this is known."
  value       = local.jobs
  depends_on  = [module.jobs]

  precondition {
    condition     = !var.deploy_cachewarmer || length(local.jobs) > 0
    error_message = "Nothing to warm: warm_paths has no path."
  }

  precondition {
    condition     = (var.warm_target_export_path == null) == (var.warm_target_path == null)
    error_message = "warm_target_export_path and warm_target_path must be given both or neither."
  }
}

output "module_depends_on_id" {
  description = "Changes when jobs are submitted anew."
  value       = one(module.jobs[*].id)
}
