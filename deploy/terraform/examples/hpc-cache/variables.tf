variable "subscription_id" {
  description = "Subscription in which everything is made."
  type        = string
}

variable "hpc_cache_can_be_made" {
  description = "Set this to true where Azure still makes HPC Caches. It retired them on 2025-09-30."
  type        = bool
  default     = false
}

variable "location" {
  description = "Azure region of the render network, the cache and the workers."
  type        = string
}

variable "filer_location" {
  description = "Azure region of the filer: another one, for the latency of a far office."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group that is made, and holds everything."
  type        = string
}

variable "name_prefix" {
  description = "What the names of the resources begin with."
  type        = string
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "ssh_source_prefixes" {
  description = "From where SSH to the controller is let in: your own address, such as 203.0.113.7/32."
  type        = list(string)

  validation {
    condition     = length(var.ssh_source_prefixes) > 0 && alltrue([for prefix in var.ssh_source_prefixes : can(cidrhost(prefix, 0)) && !endswith(prefix, "/0")])
    error_message = "ssh_source_prefixes must be networks such as 203.0.113.7/32, and not the whole Internet."
  }
}

variable "admin_username" {
  description = "User with sudo on every VM."
  type        = string
  default     = "azureuser"
}

variable "ssh_public_key_path" {
  description = "File of the public SSH key of that user."
  type        = string
}

variable "ssh_private_key_path" {
  description = "File of its private half, with which the modules sign in on the controller. Where the file does not exist the SSH agent is asked."
  type        = string
}

variable "render_address_space" {
  description = "Of the render network; its subnets are cut from it."
  type        = string
}

variable "filer_address_space" {
  description = "Of the filer's network; the two may not overlap."
  type        = string
}

variable "image" {
  description = "Marketplace image of every VM. A Linux with glibc 2.36 or newer."
  type = object({
    publisher = string
    offer     = string
    sku       = string
    version   = string
  })
}

variable "controller_vm_size" {
  description = "Size of the VM that runs the manager and one worker."
  type        = string
}

variable "filer_vm_size" {
  description = "Size of the NFS filer's VM."
  type        = string
}

variable "filer_disk_gb" {
  description = "Size of the filer's disk."
  type        = number
}

variable "sample_files" {
  description = "Files of 100 kB that the filer makes when its disk is empty, so that there is something to warm; 0: none."
  type        = number
}

variable "cache_throughput" {
  description = "Throughput of the HPC Cache: Standard_2G, Standard_4G or Standard_8G."
  type        = string
}

variable "cache_size_in_gb" {
  description = "Size of the HPC Cache, one that its throughput allows."
  type        = number
}

variable "usage_model" {
  description = "How the cache treats what clients write and how it looks at the filer."
  type        = string
  default     = "READ_HEAVY_INFREQ"
}

variable "worker_count" {
  description = "Most Spot VMs that the manager starts; 0: the worker on the controller reads alone."
  type        = number
}

variable "cachewarmer_path" {
  description = "The program on this machine; \"make bundle\" makes dist/cachewarmer."
  type        = string
}

variable "queue_name_prefix" {
  description = "What the names of the queues begin with."
  type        = string
}

variable "warm_paths" {
  description = "What to warm, below the cache's namespace path; each is a job of its own."
  type        = list(string)
}

variable "block_until_warm" {
  description = "Whether apply returns only when everything is warm."
  type        = bool
  default     = true
}
