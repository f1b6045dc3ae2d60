variable "warm_mount_addresses" {
  description = "Mount addresses of the cache, separated by commas."
  type        = string

  validation {
    condition     = can(regex("^[^,[:space:]]+( *, *[^,[:space:]]+)*$", var.warm_mount_addresses))
    error_message = "warm_mount_addresses must be host names or IP addresses (IPv6 in [ ]), separated by commas."
  }
}

variable "warm_paths" {
  description = "What to warm: for each export of the cache the paths below it, such as { \"/data\" = [\"/tools\", \"/island\"] }. Each path is a job of its own."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for export, paths in var.warm_paths : startswith(export, "/") && alltrue([for path in paths : startswith(path, "/")])])
    error_message = "warm_paths: each export and each path must begin with a slash; \"/\" is all of an export."
  }
}

variable "warm_target_export_path" {
  description = "The export of one more job, with warm_target_path: the way to name a single path in earlier versions."
  type        = string
  default     = null

  validation {
    condition     = var.warm_target_export_path == null || can(regex("^/", var.warm_target_export_path))
    error_message = "warm_target_export_path must begin with a slash."
  }
}

variable "warm_target_path" {
  description = "The path below warm_target_export_path."
  type        = string
  default     = null

  validation {
    condition     = var.warm_target_path == null || can(regex("^/", var.warm_target_path))
    error_message = "warm_target_path must begin with a slash."
  }
}

variable "warm_uid" {
  description = "User to read as on the wire; null: what the workers are set to, which is root."
  type        = number
  default     = null

  validation {
    condition     = var.warm_uid == null || try(var.warm_uid >= 0 && var.warm_uid <= 4294967295 && floor(var.warm_uid) == var.warm_uid, false)
    error_message = "warm_uid must be a whole number from 0 to 4294967295."
  }
}

variable "warm_gid" {
  description = "Group to read as on the wire; null: as for warm_uid."
  type        = number
  default     = null

  validation {
    condition     = var.warm_gid == null || try(var.warm_gid >= 0 && var.warm_gid <= 4294967295 && floor(var.warm_gid) == var.warm_gid, false)
    error_message = "warm_gid must be a whole number from 0 to 4294967295."
  }
}

variable "inclusion_csv" {
  description = "Warm only files that match one of these patterns, separated by commas, such as *.exr,*.png; empty: all. The patterns are those of Go's filepath.Match, on the base name."
  type        = string
  default     = ""
}

variable "exclusion_csv" {
  description = "Leave out files that match one of these patterns; empty: none. Exclusion wins."
  type        = string
  default     = ""
}

variable "maxFileSizeBytes" {
  description = "Leave out files larger than this, in bytes; 0: no limit."
  type        = number
  default     = 0

  validation {
    condition     = var.maxFileSizeBytes == null || try(var.maxFileSizeBytes >= 0 && floor(var.maxFileSizeBytes) == var.maxFileSizeBytes, false)
    error_message = "maxFileSizeBytes must be a whole number from 0."
  }
}

variable "block_until_warm" {
  description = "Whether apply returns only when all of it is warm, and fails when some of it could not be warmed. false: the jobs are only posted."
  type        = bool
  default     = true
  nullable    = false
}

variable "warm_trigger" {
  description = "Any text. When it changes, the same paths are warmed again."
  type        = string
  default     = ""
  nullable    = false
}
