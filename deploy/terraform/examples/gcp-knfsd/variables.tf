variable "project" {
  description = "Id of the project."
  type        = string
}

variable "region" {
  description = "Where all of it is: the cache's region."
  type        = string
}

variable "zone" {
  description = "Of the manager's VM."
  type        = string
}

variable "network" {
  description = "Name of the network that the cache is in."
  type        = string
}

variable "subnetwork" {
  description = "Name of its subnetwork in the region. It needs Private Google Access, for VMs without an address of their own."
  type        = string
}

variable "private_services_range" {
  description = "First address of a free /24 of the network, for Cloud SQL; empty where the network has a private services connection already."
  type        = string
  default     = ""

  validation {
    condition     = var.private_services_range == "" || can(cidrhost("${var.private_services_range}/24", 0))
    error_message = "Give the first address of the range, such as 10.20.0.0."
  }
}

variable "cache_addresses" {
  description = "Addresses of the cache: of its internal load balancer, or of each proxy."
  type        = list(string)

  validation {
    condition     = length(var.cache_addresses) > 0
    error_message = "There is nothing to warm without an address."
  }
}

variable "warm_targets" {
  description = "Paths that are warmed at once, each a job: the export's name, and what is below it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for path in var.warm_targets : startswith(path, "/")])
    error_message = "Paths begin with /."
  }
}

variable "name_prefix" {
  description = "What the names of all that is made begin with."
  type        = string
  default     = "cachewarmer"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name_prefix))
    error_message = "2 to 21 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "cachewarmer_path" {
  description = "The single-file program that \"make bundle\" makes."
  type        = string
}

variable "image" {
  description = "Image of the VMs: any with systemd, curl and Python 3."
  type        = string
  default     = "projects/debian-cloud/global/images/family/debian-12"
}

variable "manager_machine_type" {
  description = "Machine type of the manager's VM."
  type        = string
  default     = "e2-small"
}

variable "worker_machine_type" {
  description = "Machine type of the workers' VMs; its network bandwidth is what counts."
  type        = string
  default     = "n2-standard-2"
}

variable "worker_count" {
  description = "How many workers there are at most."
  type        = number
  default     = 4

  validation {
    condition     = var.worker_count >= 1 && var.worker_count == floor(var.worker_count)
    error_message = "A whole number from 1."
  }
}

variable "files_per_worker" {
  description = "For so many files that are left there is one worker, up to worker_count."
  type        = number
  default     = 50000
}

variable "database_tier" {
  description = "Machine type of the Cloud SQL instance."
  type        = string
  default     = "db-custom-1-3840"
}

variable "database_password" {
  description = "Of the database's user. It is kept in Secret Manager and in Terraform's state."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{16,}$", var.database_password))
    error_message = "At least 16 letters, digits, _ and -, which a URL takes as they are."
  }
}

variable "deletion_protection" {
  description = "Whether the database is kept from being deleted."
  type        = bool
  default     = true
}
