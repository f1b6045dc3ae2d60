# -- the cache --

variable "cache_mount_addresses" {
  description = "Mount addresses of the cache; workers share them out among each other."
  type        = list(string)

  validation {
    condition     = length(var.cache_mount_addresses) > 0
    error_message = "cache_mount_addresses must name at least one address."
  }
}

variable "cache_export_path" {
  description = "The export that clients of the cache mount."
  type        = string
}

variable "warm_paths" {
  description = "What to warm, below the export; each is a job of its own."
  type        = list(string)
}

variable "inclusion_csv" {
  description = "Warm only files that match one of these patterns; empty: all."
  type        = string
  default     = ""
}

variable "exclusion_csv" {
  description = "Leave out files that match one of these patterns; empty: none."
  type        = string
  default     = ""
}

variable "max_file_size_bytes" {
  description = "Leave out files larger than this; 0: no limit."
  type        = number
  default     = 0
}

variable "block_until_warm" {
  description = "Whether apply returns only when everything is warm."
  type        = bool
  default     = true
}

variable "warm_trigger" {
  description = "Any text; when it changes, the same paths are warmed again."
  type        = string
  default     = ""
}

# -- the hosts --

variable "manager_address" {
  description = "Host with systemd that runs the manager and its own workers, and submits the jobs."
  type        = string
}

variable "worker_addresses" {
  description = "More hosts with systemd that run workers."
  type        = set(string)
  default     = []
}

variable "workers_per_host" {
  description = "Workers on each host."
  type        = number
  default     = 1
}

variable "ssh_port" {
  description = "TCP port of the hosts' SSH servers."
  type        = number
  default     = 22
}

variable "admin_username" {
  description = "User to sign in as: root, or one who may use sudo."
  type        = string
}

variable "admin_password" {
  description = "The user's password, where sudo asks for it or there is no key."
  type        = string
  default     = null
  sensitive   = true
}

variable "ssh_private_key_path" {
  description = "File of the private key. Where the file does not exist the SSH agent is asked."
  type        = string
  default     = "~/.ssh/id_rsa"
}

variable "bastion_address" {
  description = "Bastion host to reach the hosts through; empty: none."
  type        = string
  default     = ""
}

variable "proxy" {
  description = "HTTP proxy on the way to the storage account; null: none."
  type        = string
  default     = null
  sensitive   = true
}

# -- the program --

variable "cachewarmer_path" {
  description = "The program on this machine; \"make bundle\" makes dist/cachewarmer."
  type        = string
}

variable "bootstrap_directory" {
  description = "Directory on each host for the bootstrap folder."
  type        = string
  default     = "/var/lib/cachewarmer-bootstrap"
}

variable "settings_toml" {
  description = "Settings of manager and workers beyond these variables, as the text of a TOML file (docs/operations.md); empty: none."
  type        = string
  default     = ""
  sensitive   = true
}

# -- the broker --

variable "storage_account" {
  description = "Name of a storage account (StorageV2)."
  type        = string
}

variable "queue_name_prefix" {
  description = "What the names of the queues begin with."
  type        = string
}

variable "storage_connection_string" {
  description = "Signs in instead of the hosts' identities: for hosts outside Azure, and for an emulator."
  type        = string
  default     = null
  sensitive   = true
}

variable "azure_client_id" {
  description = "Client id of the user-assigned identity to sign in with, where the hosts have more than one."
  type        = string
  default     = null
}
