# The storage account that carries jobs and work, and how to sign in to it. The same file in each module that needs it; a
# test keeps the copies alike.

variable "storage_account" {
  description = "Name of the storage account (StorageV2) that holds the queues."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.storage_account))
    error_message = "storage_account must be the name of a storage account: 3 to 24 lower-case letters and digits."
  }
}

variable "storage_account_rg" {
  description = "Resource group of the storage account: where its key is looked up for an identity without a role on the data. Needs azure_subscription_id."
  type        = string
  default     = ""
  nullable    = false
}

variable "queue_name_prefix" {
  description = "What the names of the queues begin with. Manager, workers and jobs with the same account and prefix belong together."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9])*-?$", var.queue_name_prefix)) && length(var.queue_name_prefix) <= 57
    error_message = "queue_name_prefix must be 1 to 57 lower-case letters, digits and single hyphens, beginning with a letter or digit."
  }
}

variable "storage_key" {
  description = "Key of the storage account, for where no identity can be had."
  type        = string
  default     = null
  sensitive   = true
}

variable "storage_connection_string" {
  description = "Connection string instead of a key: for an emulator, or endpoints that do not follow from the account's name."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.storage_connection_string == null || try(!can(regex("\n", var.storage_connection_string)), false)
    error_message = "storage_connection_string must be one line."
  }
}

variable "storage_endpoint_suffix" {
  description = "Of a sovereign cloud, such as core.usgovcloudapi.net; null: core.windows.net."
  type        = string
  default     = null
}

variable "azure_client_id" {
  description = "Client id of the user-assigned identity to sign in with, where the node has more than one."
  type        = string
  default     = null
}

variable "azure_subscription_id" {
  description = "Subscription of the storage account: needed for the lookup of its key."
  type        = string
  default     = null
}

locals {
  # As the scripts of the bootstrap folder and the commands know it.
  account = merge(local.proxies, {
    STORAGE_ACCOUNT                = var.storage_account
    STORAGE_ACCOUNT_RESOURCE_GROUP = var.storage_account_rg
    QUEUE_PREFIX                   = var.queue_name_prefix
    AZURE_STORAGE_ENDPOINT_SUFFIX  = var.storage_endpoint_suffix
    AZURE_CLIENT_ID                = var.azure_client_id
    AZURE_SUBSCRIPTION_ID          = var.azure_subscription_id
  })
}
