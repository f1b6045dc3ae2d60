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

variable "bootstrap_sha256" {
  description = "SHA-256 of the folder's SHA256SUMS: the output of the same name of cachewarmer_prepare_bootstrapdir. With it, what is run as root is what was prepared, or nothing."
  type        = string
  default     = null

  validation {
    condition     = var.bootstrap_sha256 == null || can(regex("^[0-9a-f]{64}$", var.bootstrap_sha256))
    error_message = "bootstrap_sha256 must be 64 hexadecimal digits, in lower case."
  }
}

variable "nfs_uid" {
  description = "User that the service is to the NFS server, for jobs that name none; -1: the user it runs as. 0 is root, as the first CacheWarmer read."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.nfs_uid >= -1 && var.nfs_uid <= 4294967295 && floor(var.nfs_uid) == var.nfs_uid
    error_message = "nfs_uid must be a whole number from 0 to 4294967295, or -1."
  }
}

variable "nfs_gid" {
  description = "Group that the service is to the NFS server; not used where nfs_uid is -1."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.nfs_gid >= 0 && var.nfs_gid <= 4294967295 && floor(var.nfs_gid) == var.nfs_gid
    error_message = "nfs_gid must be a whole number from 0 to 4294967295."
  }
}

variable "nfs_gids" {
  description = "Further groups that the service is to the NFS server, 16 at most."
  type        = list(number)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.nfs_gids) <= 16
    error_message = "nfs_gids takes 16 groups at most."
  }
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
    BOOTSTRAP_SHA256                = var.bootstrap_sha256
    CACHEWARMER_NFS_UID             = var.nfs_uid == -1 ? "own" : format("%d", var.nfs_uid)
    CACHEWARMER_NFS_GID             = format("%d", var.nfs_gid)
    CACHEWARMER_NFS_GIDS            = join(",", [for gid in var.nfs_gids : format("%d", gid)])
  })
}
