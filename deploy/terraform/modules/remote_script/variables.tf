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

variable "script" {
  description = "Shell script (POSIX) to run on the node. Its $1 is the private directory, which is deleted afterwards."
  type        = string
}

variable "environment" {
  description = "Environment of the script: any text, also secrets. What is empty or null is not set."
  type        = map(string)
  default     = {}
}

variable "upload" {
  description = "A file of the machine where Terraform runs, which the script finds as $1/upload; null: none."
  type        = string
  default     = null
}

variable "as_root" {
  description = "Whether the script runs as root, through sudo where the user isn't."
  type        = bool
  default     = true
}

variable "triggers" {
  description = "The script runs again when this changes."
  type        = any
}

variable "place" {
  description = "Where on the node it is, if that can be chosen: when this changes, the removal script runs for the old place first."
  type        = any
  default     = null
}

variable "removal_script" {
  description = "Shell script to run when this is destroyed, as root; null: nothing, and the node is not asked."
  type        = string
  default     = null
}

variable "removal_environment" {
  description = "Environment of that script. It is kept in the state, so no secrets."
  type        = map(string)
  default     = {}
}

variable "module_depends_on" {
  description = "What must be there first."
  type        = any
  default     = null
}
