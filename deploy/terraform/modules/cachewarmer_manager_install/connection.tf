# How to sign in on the node. The same file in each of these modules; a test keeps the copies alike.

variable "jumpbox_address" {
  description = "Address of the node (controller, jump box or host) to work on, as seen from where Terraform runs, or from the bastion."
  type        = string
  default     = null

  validation {
    condition     = var.jumpbox_address == null || can(regex("^[^[:space:]]+$", var.jumpbox_address))
    error_message = "jumpbox_address must be a host name or an IP address, without spaces."
  }
}

variable "jumpbox_username" {
  description = "User to sign in as: root, or one who may use sudo. Default: azureuser."
  type        = string
  default     = null

  validation {
    condition     = var.jumpbox_username == null || can(regex("^[^[:space:]]+$", var.jumpbox_username))
    error_message = "jumpbox_username must be a user name, without spaces."
  }
}

variable "jumpbox_password" {
  description = "The user's password: signs in where no key is given, and answers sudo where that asks for it."
  type        = string
  default     = null
  sensitive   = true
}

variable "jumpbox_ssh_key_data" {
  description = "The public key that the node was made with. When set, the key pair signs in and not the password: its private half is ssh_private_key, or in ssh_private_key_path, or held by the SSH agent."
  type        = string
  default     = null

  validation {
    condition     = var.jumpbox_ssh_key_data == null || !can(regex("PRIVATE KEY", var.jumpbox_ssh_key_data))
    error_message = "jumpbox_ssh_key_data is the public key; give a private one as ssh_private_key."
  }
}

variable "jumpbox_ssh_port" {
  description = "TCP port of the node's SSH server. Default: 22."
  type        = number
  default     = null

  validation {
    condition     = var.jumpbox_ssh_port == null || try(var.jumpbox_ssh_port >= 1 && var.jumpbox_ssh_port <= 65535, false)
    error_message = "jumpbox_ssh_port must be a TCP port, from 1 to 65535."
  }
}

variable "ssh_private_key" {
  description = "The private key itself (PEM or OpenSSH, without a passphrase). It goes into the state; ssh_private_key_path does not."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.ssh_private_key == null || can(regex("PRIVATE KEY", var.ssh_private_key))
    error_message = "ssh_private_key must be the text of a private key; give the name of a file as ssh_private_key_path."
  }
}

variable "ssh_private_key_path" {
  description = "File of the private key, used where ssh_private_key is not given. Where the file does not exist the SSH agent is asked."
  type        = string
  default     = "~/.ssh/id_rsa"
  nullable    = false
}

variable "ssh_host_key" {
  description = "Public host key of the node, to be sure that it is the right one. Without it the host key is not checked."
  type        = string
  default     = null
}

variable "ssh_timeout" {
  description = "How long to wait for the node to let us in, such as 5m."
  type        = string
  default     = "5m"
  nullable    = false

  validation {
    condition     = can(regex("^([0-9]+[smh])+$", var.ssh_timeout))
    error_message = "ssh_timeout must be a time such as 90s or 5m."
  }
}

variable "bastion_address" {
  description = "Address of a bastion host to reach the node through; empty: none."
  type        = string
  default     = null
}

variable "bastion_ssh_port" {
  description = "TCP port of the bastion's SSH server."
  type        = number
  default     = 22
  nullable    = false

  validation {
    condition     = var.bastion_ssh_port >= 1 && var.bastion_ssh_port <= 65535
    error_message = "bastion_ssh_port must be a TCP port, from 1 to 65535."
  }
}

variable "bastion_username" {
  description = "User to sign in as on the bastion. Default: the node's."
  type        = string
  default     = null
}

variable "bastion_password" {
  description = "Password on the bastion. Default: the way of signing in on the node."
  type        = string
  default     = null
  sensitive   = true
}

variable "bastion_host_key" {
  description = "Public host key of the bastion. Without it the host key is not checked."
  type        = string
  default     = null
}

variable "proxy" {
  description = "HTTP proxy for all that goes to the storage account (and for a download), such as http://10.0.0.4:3128; null: none. NFS never uses it."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.proxy == null || var.proxy == "" || can(regex("^https?://[^[:space:]]+$", var.proxy))
    error_message = "proxy must be an address such as http://10.0.0.4:3128."
  }
}

variable "no_proxy" {
  description = "What is reached without the proxy. The default is the address of Azure's instance metadata."
  type        = string
  default     = "169.254.169.254"
  nullable    = false
}

variable "module_depends_on" {
  description = "Anything that must be there first; the same as depends_on of the module, for configurations that have it."
  type        = any
  default     = [""]
}

variable "deploy_cachewarmer" {
  description = "Whether to do anything at all, as in earlier versions; count = 0 of the module does the same."
  type        = bool
  default     = true
  nullable    = false
}

# The names that earlier versions of these modules had.

variable "node_address" {
  description = "Earlier name of jumpbox_address."
  type        = string
  default     = null
}

variable "admin_username" {
  description = "Earlier name of jumpbox_username."
  type        = string
  default     = null
}

variable "admin_password" {
  description = "Earlier name of jumpbox_password."
  type        = string
  default     = null
  sensitive   = true
}

variable "ssh_key_data" {
  description = "Earlier name of jumpbox_ssh_key_data."
  type        = string
  default     = null
}

variable "ssh_port" {
  description = "Earlier name of jumpbox_ssh_port."
  type        = number
  default     = null
}

locals {
  # try(): coalesce() is an error where nothing is left. An empty string counts as not given.
  password = try(coalesce(var.jumpbox_password, var.admin_password), null)
  key_data = try(coalesce(var.jumpbox_ssh_key_data, var.ssh_key_data), null)
  by_key   = nonsensitive(var.ssh_private_key != null || local.key_data != null || local.password == null)

  connection = {
    host             = try(coalesce(var.jumpbox_address, var.node_address), "")
    port             = coalesce(var.jumpbox_ssh_port, var.ssh_port, 22)
    user             = coalesce(var.jumpbox_username, var.admin_username, "azureuser")
    password         = local.password
    by_key           = local.by_key
    private_key      = var.ssh_private_key
    private_key_path = var.ssh_private_key_path
    host_key         = var.ssh_host_key
    timeout          = var.ssh_timeout
    bastion_host     = try(coalesce(var.bastion_address), null)
    bastion_port     = var.bastion_ssh_port
    bastion_user     = var.bastion_username
    bastion_password = var.bastion_password
    bastion_host_key = var.bastion_host_key
  }
}

locals {
  proxies = {
    http_proxy  = var.proxy
    https_proxy = var.proxy
    no_proxy    = var.proxy == null ? null : var.no_proxy
  }
}
