variable "name" {
  description = "What is done, in a word or two with hyphens. Names the script's private directory in the home of the user."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+$", var.name))
    error_message = "name must be lower-case letters, digits and hyphens."
  }
}

variable "connection" {
  description = "How to sign in, as connection.tf of the other modules gives it."
  type = object({
    host             = string
    port             = number
    user             = string
    password         = string
    by_key           = bool
    private_key      = string
    private_key_path = string
    host_key         = string
    timeout          = string
    bastion_host     = string
    bastion_port     = number
    bastion_user     = string
    bastion_password = string
    bastion_host_key = string
  })
}

variable "scripts" {
  description = "Files of the directory scripts, to run one after the other on the node as one script of the POSIX shell. Its $1 is the private directory, which is deleted afterwards."
  type        = list(string)
}

variable "preamble" {
  description = "Shell text that comes before them."
  type        = string
  default     = ""
}

variable "epilogue" {
  description = "Shell text that comes after them."
  type        = string
  default     = ""
}

variable "environment" {
  description = "Environment of the scripts: any text, also secrets. What is empty or null is not set."
  type        = map(string)
  default     = {}
}

variable "upload" {
  description = "A file of the machine where Terraform runs, which the scripts find as $1/upload; null: none."
  type        = string
  default     = null
}

variable "as_root" {
  description = "Whether the scripts run as root, through sudo where the user isn't."
  type        = bool
  default     = true
}

variable "triggers" {
  description = "The scripts run again when this changes."
  type        = any
}

variable "place" {
  description = "Where on the node it is, if that can be chosen: when this changes, the removal scripts run for the old place first."
  type        = any
  default     = null
}

variable "removal_scripts" {
  description = "Files of the directory scripts, to run as root when this is destroyed; empty: nothing is done, and the node is not asked."
  type        = list(string)
  default     = []
}

variable "removal_environment" {
  description = "Environment of those. It is kept in the state, so no secrets."
  type        = map(string)
  default     = {}
}

variable "module_depends_on" {
  description = "What must be there first."
  type        = any
  default     = null
}
