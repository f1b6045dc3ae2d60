# Where the bootstrap folder is. The same file in each module that needs it; a test keeps the copies alike.

variable "bootstrap_mount_address" {
  description = "Address of the NFS server that exports the bootstrap folder; empty: it is a plain directory of the node."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^[^[:space:]/]*$", var.bootstrap_mount_address))
    error_message = "bootstrap_mount_address must be a host name or an IP address (IPv6 in [ ]), or empty."
  }
}

variable "bootstrap_export_path" {
  description = "The NFS export; where there is no mount address, a directory of the node."
  type        = string

  validation {
    condition     = can(regex("^/", var.bootstrap_export_path))
    error_message = "bootstrap_export_path must begin with a slash."
  }
}

variable "bootstrap_mount_options" {
  description = "Options for mount(8). The export is mounted only for as long as a module works on the node."
  type        = string
  default     = "hard,proto=tcp,mountproto=tcp,retry=2"
  nullable    = false
}

variable "install_nfs_client" {
  description = "Whether to install the distribution's NFS client (nfs-common, nfs-utils) on the node where it is missing. Nothing is fetched without."
  type        = bool
  default     = false
  nullable    = false
}
