# Provisioners can't be shared, looped over or left out, and at destroy time they see nothing but the resource's own state. So
# all of them are here, once.

locals {
  directory = ".cachewarmer-${var.name}"

  prologue = <<-EOT
    set -eu
    give() { if [ -n "$2" ]; then export "$1=$2"; else unset "$1"; fi; }
  EOT

  # Within single quotes a shell takes every character as it is but the single quote itself.
  quoted  = { for name, value in var.environment : name => "'${replace(value == null ? "" : value, "'", "'\\''")}'" }
  script  = "${local.prologue}${join("", [for name, value in local.quoted : "give ${name} ${value}\n"])}${var.script}"
  removal = "${local.prologue}${join("", [for name, value in var.removal_environment : "give ${name} '${replace(value == null ? "" : value, "'", "'\\''")}'\n"])}${var.removal_script == null ? "" : var.removal_script}"

  prepare = <<-EOT
    umask 077
    rm -rf -- '${local.directory}'
    mkdir -- '${local.directory}'
  EOT

  # The password for sudo comes from a file, since a command line can be seen by everyone.
  run = <<-EOT
    set -eu
    directory=$PWD/${local.directory}
    trap 'rm -rf -- "$directory"' EXIT
    if [ "$(id -u)" -eq 0 ] || [ ${var.as_root} = false ]; then
      sh "$directory/script" "$directory"
    elif sudo -n true 2>/dev/null; then
      sudo -n sh "$directory/script" "$directory"
    elif sudo -S -p '' true <"$directory/password" 2>/dev/null; then
      sudo -S -p '' sh "$directory/script" "$directory" <"$directory/password"
    else
      echo "cachewarmer: $(id -un) can't become root on $(hostname): sudo takes neither no password nor the one given" >&2
      exit 1
    fi
  EOT
}

# Comes first and goes last. It does nothing when it is made, so it never fails half done: Terraform does not run the
# destroy-time provisioners of what failed, and what a failed installation left behind must go away too. Whoever signs in
# differently, or has another version of these modules, changes it in place.
resource "terraform_data" "removal" {
  count = var.removal_script == null ? 0 : 1

  triggers_replace = [var.connection.host, var.connection.port, var.place]

  input = {
    connection = var.connection
    prepare    = local.prepare
    directory  = local.directory
    script     = local.removal
    run        = local.run
  }

  connection {
    type             = "ssh"
    host             = self.input.connection.host
    port             = self.input.connection.port
    user             = self.input.connection.user
    password         = self.input.connection.by_key ? null : self.input.connection.password
    private_key      = !self.input.connection.by_key ? null : self.input.connection.private_key != null ? self.input.connection.private_key : try(file(pathexpand(self.input.connection.private_key_path)), null)
    agent            = self.input.connection.by_key ? null : false
    host_key         = self.input.connection.host_key
    timeout          = self.input.connection.timeout
    bastion_host     = self.input.connection.bastion_host
    bastion_port     = self.input.connection.bastion_port
    bastion_user     = self.input.connection.bastion_user
    bastion_password = self.input.connection.bastion_password
    bastion_host_key = self.input.connection.bastion_host_key
  }

  provisioner "remote-exec" {
    when   = destroy
    inline = [self.input.prepare]
  }

  provisioner "file" {
    when        = destroy
    content     = self.input.script
    destination = "${self.input.directory}/script"
  }

  provisioner "file" {
    when        = destroy
    content     = self.input.connection.password == null ? "\n" : "${self.input.connection.password}\n"
    destination = "${self.input.directory}/password"
  }

  provisioner "remote-exec" {
    when   = destroy
    inline = [self.input.run]
  }

  depends_on = [var.module_depends_on]
}

resource "terraform_data" "run" {
  triggers_replace = [var.connection.host, var.connection.port, var.triggers]

  lifecycle {
    precondition {
      condition     = var.connection.host != ""
      error_message = "No node is named: set jumpbox_address (or node_address)."
    }
  }

  connection {
    type             = "ssh"
    host             = var.connection.host
    port             = var.connection.port
    user             = var.connection.user
    password         = var.connection.by_key ? null : var.connection.password
    private_key      = !var.connection.by_key ? null : var.connection.private_key != null ? var.connection.private_key : try(file(pathexpand(var.connection.private_key_path)), null)
    agent            = var.connection.by_key ? null : false
    host_key         = var.connection.host_key
    timeout          = var.connection.timeout
    bastion_host     = var.connection.bastion_host
    bastion_port     = var.connection.bastion_port
    bastion_user     = var.connection.bastion_user
    bastion_password = var.connection.bastion_password
    bastion_host_key = var.connection.bastion_host_key
  }

  provisioner "remote-exec" {
    inline = [local.prepare]
  }

  # Secrets travel in this file and the next, in a directory that only the user can read. Terraform shows neither.
  provisioner "file" {
    content     = local.script
    destination = "${local.directory}/script"
  }

  provisioner "file" {
    content     = var.connection.password == null ? "\n" : "${var.connection.password}\n"
    destination = "${local.directory}/password"
  }

  # A provisioner can't be left out: where there is nothing to upload, a small file goes in its place.
  provisioner "file" {
    source      = var.upload == null ? "${path.module}/versions.tf" : var.upload
    destination = "${local.directory}/upload"
  }

  provisioner "remote-exec" {
    inline = [local.run]
  }

  depends_on = [terraform_data.removal, var.module_depends_on]
}
