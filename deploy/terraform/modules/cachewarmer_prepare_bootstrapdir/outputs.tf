output "bootstrap_mount_address" {
  description = "Address of the NFS server that exports the folder; empty for a plain directory."
  value       = var.bootstrap_mount_address
  depends_on  = [module.folder]
}

output "bootstrap_export_path" {
  description = "The export, or the directory, that the folder is below."
  value       = var.bootstrap_export_path
  depends_on  = [module.folder]
}

output "cachewarmer_manager_bootstrap_script_path" {
  description = "The manager's script, below the export: bootstrap_manager_script_path of cachewarmer_manager_install."
  value       = "${var.bootstrap_subdir}/bootstrap.cachewarmer-manager.sh"
  depends_on  = [module.folder]
}

output "cachewarmer_worker_bootstrap_script_path" {
  description = "The workers' script, below the export: bootstrap_worker_script_path of the two install modules."
  value       = "${var.bootstrap_subdir}/bootstrap.cachewarmer-worker.sh"
  depends_on  = [module.folder]
}

output "bootstrap_version" {
  description = "Changes when the program or a script in the folder does. Pass it to the install modules, so that they upgrade."
  value       = local.version
  depends_on  = [module.folder]

  precondition {
    condition     = !var.deploy_cachewarmer || length(compact([var.cachewarmer_path, var.cachewarmer_node_path, var.cachewarmer_url])) == 1
    error_message = "Give the program as exactly one of cachewarmer_path, cachewarmer_node_path and cachewarmer_url."
  }
}

output "bootstrap_sha256" {
  description = "SHA-256 of the folder's SHA256SUMS, where the program's own is known (cachewarmer_path or cachewarmer_sha256). Pass it to the install modules, so that they run nothing else."
  value       = local.sums_sha256
  depends_on  = [module.folder]
}

output "module_depends_on_id" {
  description = "Changes when the folder is prepared anew."
  value       = one(module.folder[*].id)
}
