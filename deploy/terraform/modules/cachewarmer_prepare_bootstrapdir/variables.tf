variable "bootstrap_subdir" {
  description = "The folder, below the export or the directory. It is made where it is missing."
  type        = string
  default     = "/bootstrap"
  nullable    = false

  validation {
    condition     = can(regex("^(/[^/]+)+$", var.bootstrap_subdir)) && !can(regex("/\\.\\.?(/|$)", var.bootstrap_subdir))
    error_message = "bootstrap_subdir must be a path such as /bootstrap or /tools/bootstrap."
  }
}

variable "cachewarmer_path" {
  description = "The program on the machine where Terraform runs, such as dist/cachewarmer (\"make bundle\" makes it). It is uploaded."
  type        = string
  default     = null

  validation {
    condition     = var.cachewarmer_path == null || try(fileexists(var.cachewarmer_path), false)
    error_message = "cachewarmer_path names no file; \"make bundle\" makes dist/cachewarmer."
  }
}

variable "cachewarmer_node_path" {
  description = "The program where it lies on the node already."
  type        = string
  default     = null

  validation {
    condition     = var.cachewarmer_node_path == null || can(regex("^/", var.cachewarmer_node_path))
    error_message = "cachewarmer_node_path must begin with a slash."
  }
}

variable "cachewarmer_url" {
  description = "Where the node downloads the program from. Nothing is downloaded without."
  type        = string
  default     = null

  validation {
    condition     = var.cachewarmer_url == null || can(regex("^(https?|file)://", var.cachewarmer_url))
    error_message = "cachewarmer_url must begin with https://, http:// or file://."
  }
}

variable "cachewarmer_sha256" {
  description = "SHA-256 of the program, checked before it is used. Give it with cachewarmer_url and cachewarmer_node_path: a new sum also says that there is a new program."
  type        = string
  default     = null

  validation {
    condition     = var.cachewarmer_sha256 == null || can(regex("^[0-9a-f]{64}$", var.cachewarmer_sha256))
    error_message = "cachewarmer_sha256 must be 64 hexadecimal digits, in lower case."
  }
}

variable "build_cachewarmer" {
  description = "Kept from the first CacheWarmer, and only false: the program is built where Terraform runs, with \"make bundle\"."
  type        = bool
  default     = false

  validation {
    condition     = var.build_cachewarmer != true
    error_message = "The node does not build the program: run \"make bundle\" and give the result as cachewarmer_path."
  }
}
