# Provisioners can't be shared, looped over or left out, and at destroy time they see nothing but the resource's own state. So
# all of them are here, once.

locals {
  directory = ".cachewarmer-${var.name}"

  # Within single quotes a shell takes every character as it is but the single quote itself.
  settings = [for name, value in var.environment : "give ${name} '${replace(value == null ? "" : value, "'", "'\\''")}'\n"]
  script   = join("", concat([file("${path.module}/scripts/prologue.sh")], local.settings, [var.preamble], [for name in var.scripts : file("${path.module}/scripts/${name}")], [var.epilogue]))
}

# Terraform ends a script by writing an empty file in its place. In /tmp that would stay there, and /tmp may be on a file system
# that runs nothing. The first script's is taken away by the second; where the second's was, there is no directory any more.

# Comes first and goes last. It does nothing when it is made, so it never fails half done: Terraform does not run the
# destroy-time provisioners of what failed, and what a failed installation left behind must go away too. Whoever signs in
# differently, or has another version of these modules, changes it in place.
resource "terraform_data" "removal" {
  count = length(var.removal_scripts) == 0 ? 0 : 1

  triggers_replace = [var.connection.host, var.connection.port, var.place]

  input = {
    connection = var.connection
    directory  = local.directory
    settings   = [for name, value in var.removal_environment : "give ${name} '${replace(value, "'", "'\\''")}'\n"]
    scripts    = var.removal_scripts
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
    script_path      = "./${self.input.directory}/start/script.sh"
    bastion_host     = self.input.connection.bastion_host
    bastion_port     = self.input.connection.bastion_port
    bastion_user     = self.input.connection.bastion_user
    bastion_password = self.input.connection.bastion_password
    bastion_host_key = self.input.connection.bastion_host_key
  }

  provisioner "remote-exec" {
    when = destroy
    connection {
      script_path = "./${self.input.directory}.sh"
    }
    inline = ["umask 077", "rm -rf -- '${self.input.directory}'", "mkdir -p -- '${self.input.directory}/start'"]
  }

  provisioner "file" {
    when        = destroy
    content     = join("", concat([file("${path.module}/scripts/prologue.sh")], self.input.settings, [for name in self.input.scripts : file("${path.module}/scripts/${name}")]))
    destination = "${self.input.directory}/script"
  }

  provisioner "file" {
    when        = destroy
    content     = self.input.connection.password == null ? "\n" : "${self.input.connection.password}\n"
    destination = "${self.input.directory}/password"
  }

  provisioner "remote-exec" {
    when   = destroy
    inline = ["directory=$PWD/${self.input.directory}", file("${path.module}/scripts/as_root.sh")]
  }

  depends_on = [var.module_depends_on]
}

resource "terraform_data" "run" {
  # What stays on a node is there again when the node is another; what leaves nothing behind need not be.
  triggers_replace = [length(var.removal_scripts) == 0 ? null : [var.connection.host, tostring(var.connection.port)], var.triggers]

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
    script_path      = "./${local.directory}/start/script.sh"
    bastion_host     = var.connection.bastion_host
    bastion_port     = var.connection.bastion_port
    bastion_user     = var.connection.bastion_user
    bastion_password = var.connection.bastion_password
    bastion_host_key = var.connection.bastion_host_key
  }

  provisioner "remote-exec" {
    connection {
      script_path = "./${local.directory}.sh"
    }
    inline = ["umask 077", "rm -rf -- '${local.directory}'", "mkdir -p -- '${local.directory}/start'"]
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
    inline = ["directory=$PWD/${local.directory}", file("${path.module}/scripts/${var.as_root ? "as_root" : "as_user"}.sh")]
  }

  depends_on = [terraform_data.removal, var.module_depends_on]
}
