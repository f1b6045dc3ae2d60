locals {
  deploy = "${path.module}/../../.."
  files  = concat([for directory in ["bootstrap", "systemd", "logging"] : [for name in sort(fileset("${local.deploy}/${directory}", "*")) : "${directory}/${name}"]]...)
  sums   = { for name in local.files : name => filesha256("${local.deploy}/${name}") }

  # The folder's scripts and units are small texts, so they go along within the script.
  unpack = [for name in local.files : "cat >\"$1/${name}\" <<'${local.sums[name]}'\n${file("${local.deploy}/${name}")}${local.sums[name]}\n"]

  program = var.cachewarmer_path != null ? filesha256(var.cachewarmer_path) : join(" ", compact([var.cachewarmer_node_path, var.cachewarmer_url, var.cachewarmer_sha256]))
  version = sha256(jsonencode([local.sums, local.program]))

  # What prepare.sh writes into SHA256SUMS, where the program's own sum is known: "./" and the name in the folder, in the order of
  # the names.
  program_sum = var.cachewarmer_path != null ? filesha256(var.cachewarmer_path) : var.cachewarmer_sha256
  kept = merge(
    { for name in ["install.sh", "remove.sh", "first_generation.sh", "bootstrap.cachewarmer-manager.sh", "bootstrap.cachewarmer-worker.sh"] : "./${name}" => "bootstrap/${name}" },
    { for name in fileset("${local.deploy}/systemd", "{cachewarmer-manager.service,cachewarmer-worker*.service,kernel-mounts.conf}") : "./systemd/${name}" => "systemd/${name}" },
    { for name in ["rsyslog.conf", "logrotate.conf"] : "./logging/${name}" => "logging/${name}" },
    { "./backoff" = "systemd/backoff" },
  )
  sum_of      = merge({ for name, source in local.kept : name => local.sums[source] }, { "./cachewarmer" = local.program_sum })
  sums_sha256 = local.program_sum == null ? null : sha256(join("", [for name in sort(keys(local.sum_of)) : "${local.sum_of[name]}  ${name}\n"]))

  place = {
    BOOTSTRAP_MOUNT_ADDRESS = var.bootstrap_mount_address
    BOOTSTRAP_EXPORT_PATH   = var.bootstrap_export_path
    BOOTSTRAP_MOUNT_OPTIONS = var.bootstrap_mount_options
    BOOTSTRAP_SUBDIR        = var.bootstrap_subdir
    INSTALL_NFS_CLIENT      = tostring(var.install_nfs_client)
  }
}

module "folder" {
  source = "../remote_script"
  count  = var.deploy_cachewarmer ? 1 : 0

  name       = "folder"
  connection = local.connection
  upload     = var.cachewarmer_path
  triggers   = [local.place, local.version]
  place      = [var.bootstrap_mount_address, var.bootstrap_export_path, var.bootstrap_subdir]

  preamble = "unpack() {\nmkdir \"$1/bootstrap\" \"$1/systemd\" \"$1/logging\"\n${join("", local.unpack)}}\n"
  scripts  = ["folder.sh", "prepare_folder.sh"]
  environment = merge(local.proxies, local.place, {
    CACHEWARMER_NODE_PATH = var.cachewarmer_node_path
    CACHEWARMER_URL       = var.cachewarmer_url
    CACHEWARMER_SHA256    = var.cachewarmer_sha256
  })

  removal_scripts     = ["folder.sh", "remove_folder.sh"]
  removal_environment = merge(local.place, { REMOVING = "1" })

  module_depends_on = var.module_depends_on
}
