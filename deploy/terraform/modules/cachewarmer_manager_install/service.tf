# What manager and worker have in common as services. The same file in both modules; a test keeps the copies alike.

variable "bootstrap_version" {
  description = "What the folder holds: the output of the same name of cachewarmer_prepare_bootstrapdir. When it changes, the installation is brought up to date."
  type        = string
  default     = ""
  nullable    = false
}

variable "settings_toml" {
  description = "Settings beyond these variables, as the text of a TOML file (docs/operations.md); empty: none."
  type        = string
  default     = ""
  nullable    = false
  sensitive   = true
}

variable "kernel_mounts" {
  description = "Whether the service may mount file systems, for jobs that can't be read with the direct reader. It then runs as root."
  type        = bool
  default     = false
  nullable    = false
}

locals {
  service = merge(local.account, {
    STORAGE_KEY                     = var.storage_key
    AZURE_STORAGE_CONNECTION_STRING = var.storage_connection_string
    BOOTSTRAP_MOUNT_ADDRESS         = var.bootstrap_mount_address
    BOOTSTRAP_EXPORT_PATH           = var.bootstrap_export_path
    BOOTSTRAP_MOUNT_OPTIONS         = var.bootstrap_mount_options
    INSTALL_NFS_CLIENT              = tostring(var.install_nfs_client)
    CACHEWARMER_SETTINGS            = var.settings_toml
    CACHEWARMER_KERNEL_MOUNTS       = var.kernel_mounts ? "1" : ""
  })
}
