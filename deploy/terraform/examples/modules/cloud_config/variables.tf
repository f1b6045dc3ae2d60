variable "name" {
  description = "Name of the systemd unit that runs the scripts."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.name))
    error_message = "name must be lower-case letters, digits and hyphens."
  }
}

variable "scripts" {
  description = "Names of files in ../../scripts, in the order in which they run."
  type        = list(string)
  nullable    = false
}

variable "environment" {
  description = "The scripts' environment variables."
  type        = map(string)
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.environment) : !can(regex("\n", value))])
    error_message = "A value of environment can't hold a line break."
  }
}

variable "packages" {
  description = "The distribution's packages that the scripts need; an empty list: the image has them, and nothing is fetched."
  type        = list(string)
  default     = []
  nullable    = false
}
