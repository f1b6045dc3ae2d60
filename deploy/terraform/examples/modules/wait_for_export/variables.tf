variable "host" {
  description = "Address of the host from which to look."
  type        = string
}

variable "username" {
  description = "User to sign in as."
  type        = string
}

variable "ssh_private_key_path" {
  description = "File of the private key. Where the file does not exist the SSH agent is asked."
  type        = string
}

variable "bastion_address" {
  description = "Bastion host to reach the host through; empty: none."
  type        = string
  default     = ""
}

variable "server_id" {
  description = "Changes when the server is made anew."
  type        = string
}

variable "export_address" {
  description = "Address of the NFS server."
  type        = string
}

variable "export_path" {
  description = "What it exports."
  type        = string

  validation {
    condition     = can(regex("^/[^'[:space:]]*$", var.export_path))
    error_message = "export_path must begin with a slash and hold neither quotes nor spaces."
  }
}
