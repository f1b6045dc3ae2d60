# What cloud-init gets for a VM that a few scripts set up. They run at every boot, one after the other, since a local disk is
# empty after the VM was deallocated; so each must be able to run twice.

locals {
  directory = "/usr/local/lib/${var.name}"

  unit = <<-EOT
    [Unit]
    Description=Set up this VM: ${var.name}
    Wants=network-online.target
    After=network-online.target

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    EnvironmentFile=/etc/${var.name}.env
    ${join("\n", [for script in var.scripts : "ExecStart=${local.directory}/${script}"])}
    TimeoutStartSec=900
    Restart=on-failure
    RestartSec=10

    [Install]
    WantedBy=multi-user.target
  EOT

  # Within double quotes an EnvironmentFile takes \ and " after a backslash, and all else as it is (systemd.exec(5)).
  escaped = { for name, value in var.environment : name => replace(replace(value, "\\", "\\\\"), "\"", "\\\"") }
  lines   = [for name, value in local.escaped : "${name}=\"${value}\"\n"]

  files = merge(
    { for script in var.scripts : "${local.directory}/${script}" => { mode = "0755", text = file("${path.module}/../../scripts/${script}") } },
    {
      "/etc/${var.name}.env"                    = { mode = "0600", text = join("", local.lines) }
      "/etc/systemd/system/${var.name}.service" = { mode = "0644", text = local.unit }
    },
  )

  config = merge(
    # An empty list of packages is none that cloud-init's schema allows.
    { for key, value in { package_update = true, packages = var.packages } : key => value if length(var.packages) > 0 },
    {
      write_files = [for path, about in local.files : { path = path, permissions = about.mode, encoding = "b64", content = base64encode(about.text) }]
      runcmd      = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "${var.name}.service"]]
    },
  )
}
