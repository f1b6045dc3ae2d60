variable "bootstrap_manager_script_path" {
  description = "The manager's script, below the export or the directory."
  type        = string
  default     = "/bootstrap/bootstrap.cachewarmer-manager.sh"
  nullable    = false

  validation {
    condition     = can(regex("^/", var.bootstrap_manager_script_path))
    error_message = "bootstrap_manager_script_path must begin with a slash."
  }
}

variable "bootstrap_worker_script_path" {
  description = "The workers' script, below the export: what the VMs that the manager starts install themselves from."
  type        = string
  default     = "/bootstrap/bootstrap.cachewarmer-worker.sh"
  nullable    = false

  validation {
    condition     = can(regex("^/", var.bootstrap_worker_script_path))
    error_message = "bootstrap_worker_script_path must begin with a slash."
  }
}

variable "vmss_worker_count" {
  description = "Maximum number of Spot VMs that the manager starts; 0: none, the workers are hosts of your own."
  type        = number
  default     = 12
  nullable    = false

  validation {
    condition     = var.vmss_worker_count >= 0 && var.vmss_worker_count <= 1000 && floor(var.vmss_worker_count) == var.vmss_worker_count
    error_message = "vmss_worker_count must be a whole number from 0 to 1000."
  }
}

variable "vmss_user_name" {
  description = "User on the VMs that the manager starts."
  type        = string
  default     = "azureuser"
  nullable    = false
}

variable "vmss_password" {
  description = "Password of that user; not used where vmss_ssh_public_key is given, which also turns signing in with passwords off."
  type        = string
  default     = null
  sensitive   = true
}

variable "vmss_ssh_public_key" {
  description = "Public SSH key of that user."
  type        = string
  default     = null
}

variable "vmss_subnet_name" {
  description = "Subnet for those VMs, in the network of the manager's VM; null: the manager's own."
  type        = string
  default     = null
}
