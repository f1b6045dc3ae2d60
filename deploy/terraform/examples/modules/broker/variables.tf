variable "account_name" {
  description = "Name of the storage account; it must be free in all of Azure."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.account_name))
    error_message = "account_name must be 3 to 24 lower-case letters and digits."
  }
}

variable "queue_name_prefix" {
  description = "What the names of the queues begin with."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", var.queue_name_prefix)) && length(var.queue_name_prefix) <= 56
    error_message = "queue_name_prefix must be lower-case letters and digits, with single hyphens between them, at most 56 characters."
  }
}

variable "resource_group_name" {
  description = "Resource group of the account and its endpoints."
  type        = string
}

variable "resource_group_id" {
  description = "Id of that resource group: where the manager may make its scale set. The workers' network must be in it too."
  type        = string
}

variable "location" {
  description = "Azure region."
  type        = string
}

variable "replication" {
  description = "Replication of the account: LRS, ZRS, … What it holds is of use for one job's time."
  type        = string
  default     = "LRS"
}

variable "endpoint_subnet_id" {
  description = "Subnet for the private endpoints of the account."
  type        = string
}

variable "virtual_network_ids" {
  description = "Networks in which the account's names lead to the private endpoints, by a name of their own."
  type        = map(string)
}

variable "identity_name_prefix" {
  description = "What the names of the two identities begin with."
  type        = string
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
