locals {
  paths = flatten([for export, paths in var.warm_paths : [for path in paths : { export = export, path = path }]])
  path  = var.warm_target_export_path == null || var.warm_target_path == null ? [] : [{ export = var.warm_target_export_path, path = var.warm_target_path }]
  jobs  = distinct(concat(local.paths, local.path))

  # What makes a job another job. Whoever signs in otherwise, or moves to another node, warms nothing again.
  request = {
    STORAGE_ACCOUNT      = var.storage_account
    QUEUE_PREFIX         = var.queue_name_prefix
    WARM_MOUNT_ADDRESSES = var.warm_mount_addresses
    INCLUSION_CSV        = var.inclusion_csv
    EXCLUSION_CSV        = var.exclusion_csv
    MAX_FILE_SIZE_BYTES  = var.maxFileSizeBytes == null ? "0" : format("%d", var.maxFileSizeBytes)
    WARM_UID             = var.warm_uid == null ? "" : format("%d", var.warm_uid)
    WARM_GID             = var.warm_gid == null ? "" : format("%d", var.warm_gid)
  }

  connection_string = var.storage_connection_string != null || var.storage_key == null ? var.storage_connection_string : join(";", [
    "DefaultEndpointsProtocol=https",
    "AccountName=${var.storage_account}",
    "AccountKey=${var.storage_key}",
    "EndpointSuffix=${var.storage_endpoint_suffix == null ? "core.windows.net" : var.storage_endpoint_suffix}",
  ])

  # Within single quotes a shell takes every character as it is but the single quote itself. The name of a job tells, as long
  # as this module's state lives, whether it was posted before.
  calls = [for job in local.jobs : join(" ", ["submit", join(" ", [
    for text in [job.export, job.path, "terraform-${substr(sha256(jsonencode([terraform_data.life.id, local.request, job, var.warm_trigger])), 0, 16)}"] :
    "'${replace(text, "'", "'\\''")}'"
  ])])]
}

# Its id is as old as this module's state: what was warmed before a destroy is warmed again after it.
resource "terraform_data" "life" {}

# All jobs in one, since for_each would have to know at plan how many there are. Those that are warm, or on their way, are not
# posted again.
module "jobs" {
  source = "../remote_script"
  count  = var.deploy_cachewarmer ? 1 : 0

  name       = "jobs-${substr(sha256("${var.storage_account}/${var.queue_name_prefix}"), 0, 12)}"
  connection = local.connection
  as_root    = false
  triggers   = [local.request, local.jobs, var.block_until_warm, var.warm_trigger]

  scripts  = ["submit_jobs.sh"]
  epilogue = "${join("\n", local.calls)}\nfinish\n"
  environment = merge(local.account, local.request, {
    BLOCK_UNTIL_WARM                = tostring(var.block_until_warm)
    AZURE_STORAGE_CONNECTION_STRING = local.connection_string
  })

  module_depends_on = var.module_depends_on
}
