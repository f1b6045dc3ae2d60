# -- where --

variable "subscription_id" {
  description = "Subscription in which everything is made."
  type        = string
}

variable "location" {
  description = "Azure region; one that has cache_vm_size."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group that is made, and holds everything."
  type        = string
}

variable "name_prefix" {
  description = "What the names of the resources begin with."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 2 to 32 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

# -- who gets in --

variable "ssh_source_prefixes" {
  description = "From where SSH to the controller is let in: your own address, such as 203.0.113.7/32."
  type        = list(string)

  validation {
    condition     = length(var.ssh_source_prefixes) > 0 && alltrue([for prefix in var.ssh_source_prefixes : can(cidrhost(prefix, 0)) && !endswith(prefix, "/0")])
    error_message = "ssh_source_prefixes must be networks such as 203.0.113.7/32, and not the whole Internet."
  }
}

variable "controller_public_ip" {
  description = "Whether the controller has a public address. false: Terraform runs where it reaches the network (VPN, ExpressRoute), or bastion_address is given."
  type        = bool
  default     = true
}

variable "bastion_address" {
  description = "Bastion host to reach the controller through; empty: none."
  type        = string
  default     = ""
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

# -- the network --

variable "address_space" {
  description = "Of the network that is made, at least a /24; its subnets are cut from it."
  type        = string

  validation {
    condition     = can(cidrsubnet(var.address_space, 3, 7))
    error_message = "address_space must be a network such as 10.20.0.0/22."
  }
}

variable "allow_internet" {
  description = "Whether VMs reach the Internet, through a NAT gateway, and fetch packages. false: their images must have what they need (README.md)."
  type        = bool
  default     = true
}

# -- the VMs --

variable "image" {
  description = "Marketplace image of every VM for which no image id is given. A Linux of 6.1 or newer, with glibc 2.36 or newer."
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

variable "controller_image_id" {
  description = "Image of your own for it; null: the marketplace image."
  type        = string
  default     = null
}

variable "filer_vm_size" {
  description = "Size of the NFS filer's VM."
  type        = string
}

variable "filer_image_id" {
  description = "Image of your own for it; null: the marketplace image."
  type        = string
  default     = null
}

variable "filer_disk_gb" {
  description = "Size of the filer's disk."
  type        = number
}

variable "sample_files" {
  description = "Files of 100 kB that the filer makes when its disk is empty, so that there is something to warm; 0: none."
  type        = number
}

variable "cache_vm_size" {
  description = "Size of the cache's VM: one with local NVMe disks, such as the L family has."
  type        = string
}

variable "cache_image_id" {
  description = "Image of your own for it; null: the marketplace image."
  type        = string
  default     = null
}

variable "cache_nfsd_threads" {
  description = "Threads of the cache's NFS server. Each cold read holds one until the filer has answered: more than manager and workers have in flight together (16 each)."
  type        = number

  validation {
    condition     = var.cache_nfsd_threads >= 16
    error_message = "cache_nfsd_threads must be at least 16: fewer freeze the cache for everyone while it is warmed."
  }
}

variable "cache_mount_connections" {
  description = "TCP connections from the cache to the filer (nconnect)."
  type        = number

  validation {
    condition     = var.cache_mount_connections >= 1 && var.cache_mount_connections <= 16
    error_message = "cache_mount_connections must be from 1 to 16."
  }
}

variable "encryption_at_host" {
  description = "Whether temporary disks, the cache's too, are encrypted by the host; the subscription must have the feature EncryptionAtHost."
  type        = bool
  default     = false
}

# -- the workers --

variable "worker_count" {
  description = "Most Spot VMs that the manager starts; 0: the worker on the controller reads alone."
  type        = number
}

variable "worker_vm_sizes" {
  description = "Their sizes, the preferred one first; the next is taken where Azure has none to give."
  type        = list(string)
}

variable "worker_image_id" {
  description = "Image of your own for them; null: the marketplace image."
  type        = string
  default     = null
}

# -- the program and the jobs --

variable "cachewarmer_path" {
  description = "The program on this machine; \"make bundle\" makes dist/cachewarmer."
  type        = string
}

variable "queue_name_prefix" {
  description = "What the names of the queues begin with."
  type        = string
}

variable "warm_paths" {
  description = "What to warm, below the cache's export; each is a job of its own."
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
