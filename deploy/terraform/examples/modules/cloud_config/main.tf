# What cloud-init gets for a VM that one script sets up. The script runs at every boot, since a local disk is empty after the
# VM was deallocated; so it must be able to run twice.

terraform {
  required_version = ">= 1.4"
}

variable "name" {
  description = "Name of the script and its systemd unit."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.name))
    error_message = "name must be lower-case letters, digits and hyphens."
  }
}

variable "script" {
  description = "Text of a shell script."
  type        = string
}

variable "environment" {
  description = "The script's environment variables."
  type        = map(string)

  validation {
    condition     = alltrue([for value in values(var.environment) : !can(regex("\n", value))])
    error_message = "A value of environment can't hold a line break."
  }
}

variable "packages" {
  description = "The distribution's packages that the script needs; an empty list: the image has them, and nothing is fetched."
  type        = list(string)
  default     = []
}

locals {
  unit = <<-EOT
    [Unit]
    Description=Set up this VM: ${var.name}
    Wants=network-online.target
    After=network-online.target remote-fs.target

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    EnvironmentFile=/etc/${var.name}.env
    ExecStart=/usr/local/sbin/${var.name}
    TimeoutStartSec=900
    Restart=on-failure
    RestartSec=10

    [Install]
    WantedBy=multi-user.target
  EOT

  # Within double quotes an EnvironmentFile takes \ " ` and $ after a backslash (systemd.exec(5)).
  lines = [for name, value in var.environment : "${name}=\"${replace(value, "/([\\\\\"`$])/", "\\$1")}\""]

  config = merge(
    length(var.packages) == 0 ? {} : { package_update = true, packages = var.packages },
    {
      write_files = [
        { path = "/usr/local/sbin/${var.name}", permissions = "0755", encoding = "b64", content = base64encode(var.script) },
        { path = "/etc/${var.name}.env", permissions = "0600", encoding = "b64", content = base64encode("${join("\n", local.lines)}\n") },
        { path = "/etc/systemd/system/${var.name}.service", permissions = "0644", encoding = "b64", content = base64encode(local.unit) },
      ]
      runcmd = [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "${var.name}.service"],
      ]
    },
  )
}

output "text" {
  description = "A #cloud-config document."
  value       = "#cloud-config\n${yamlencode(local.config)}"
}
