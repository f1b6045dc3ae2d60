locals {
  paths = flatten([for export, paths in var.warm_paths : [for path in paths : { export = export, path = path }]])
  path  = var.warm_target_export_path == null || var.warm_target_path == null ? [] : [{ export = var.warm_target_export_path, path = var.warm_target_path }]
  jobs  = { for job in concat(local.paths, local.path) : "${job.export}:${job.path}" => job }

  # What makes a job another job. Whoever signs in otherwise, or moves to another node, warms nothing again.
  request = {
    STORAGE_ACCOUNT      = var.storage_account
    QUEUE_PREFIX         = var.queue_name_prefix
    WARM_MOUNT_ADDRESSES = var.warm_mount_addresses
    INCLUSION_CSV        = var.inclusion_csv
    EXCLUSION_CSV        = var.exclusion_csv
    MAX_FILE_SIZE_BYTES  = var.maxFileSizeBytes == null ? "0" : format("%d", var.maxFileSizeBytes)
  }

  connection_string = var.storage_connection_string != null || var.storage_key == null ? var.storage_connection_string : join(";", [
    "DefaultEndpointsProtocol=https",
    "AccountName=${var.storage_account}",
    "AccountKey=${var.storage_key}",
    "EndpointSuffix=${var.storage_endpoint_suffix == null ? "core.windows.net" : var.storage_endpoint_suffix}",
  ])
}

module "job" {
  source   = "../remote_script"
  for_each = local.jobs

  name       = "job-${substr(sha256("${var.storage_account}/${var.queue_name_prefix}/${each.key}"), 0, 12)}"
  connection = local.connection
  as_root    = false
  triggers   = [local.request, each.key, var.block_until_warm, var.warm_trigger]

  scripts = ["submit_job.sh"]
  environment = merge(local.account, local.request, {
    WARM_EXPORT_PATH                = each.value.export
    WARM_PATH                       = each.value.path
    BLOCK_UNTIL_WARM                = tostring(var.block_until_warm)
    AZURE_STORAGE_CONNECTION_STRING = local.connection_string
  })

  module_depends_on = var.module_depends_on
}
