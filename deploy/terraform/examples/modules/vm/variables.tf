variable "name" {
  description = "Name of the VM, and what the names of its parts begin with."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group that the VM is made in."
  type        = string
}

variable "location" {
  description = "Azure region."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the VM's network interface."
  type        = string
}

variable "private_ip_address" {
  description = "Fixed address in the subnet; null: Azure chooses one."
  type        = string
  default     = null
}

variable "public_ip" {
  description = "Whether the VM gets a public address."
  type        = bool
  default     = false
}

variable "size" {
  description = "VM size."
  type        = string
}

variable "image" {
  description = "Marketplace image; not used where image_id is given."
  type = object({
    publisher = string
    offer     = string
    sku       = string
    version   = string
  })
}

variable "image_id" {
  description = "Id of an image of your own (managed image or gallery); null: the marketplace image."
  type        = string
  default     = null
}

variable "admin_username" {
  description = "User with sudo."
  type        = string
}

variable "ssh_public_key" {
  description = "Public SSH key of that user; the VM takes no password."
  type        = string
}

variable "cloud_config" {
  description = "Text for cloud-init; null: none."
  type        = string
  default     = null
}

variable "identity_ids" {
  description = "Ids of the user-assigned identities that programs on the VM may act as."
  type        = list(string)
  default     = []
}

variable "data_disk_gb" {
  description = "Size of a managed disk at LUN 0; 0: none."
  type        = number
  default     = 0
}

variable "data_disk_type" {
  description = "Storage type of that disk."
  type        = string
  default     = "Premium_LRS"
}

variable "accelerated_networking" {
  description = "Whether the network interface bypasses the host's virtual switch; nearly every size with two or more cores can."
  type        = bool
  default     = true
}

variable "encryption_at_host" {
  description = "Whether the host encrypts caches and temporary disks too; the subscription must have the feature EncryptionAtHost."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
