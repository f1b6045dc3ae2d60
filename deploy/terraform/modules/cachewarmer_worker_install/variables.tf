variable "bootstrap_worker_script_path" {
  description = "The worker's script, below the export or the directory."
  type        = string
  default     = "/bootstrap/bootstrap.cachewarmer-worker.sh"
  nullable    = false

  validation {
    condition     = can(regex("^/", var.bootstrap_worker_script_path))
    error_message = "bootstrap_worker_script_path must begin with a slash."
  }
}

variable "workers_per_host" {
  description = "Worker services on the host. One reads with one core; more make sense where the network is faster than that."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.workers_per_host >= 1 && var.workers_per_host <= 256 && floor(var.workers_per_host) == var.workers_per_host
    error_message = "workers_per_host must be a whole number from 1 to 256."
  }
}
