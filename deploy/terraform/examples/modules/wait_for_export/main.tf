# Is there only when a server exports what it should, as seen from a host that Terraform signs in on.

resource "terraform_data" "export" {
  triggers_replace = [var.server_id, var.export_address, var.export_path]

  connection {
    type         = "ssh"
    host         = var.host
    user         = var.username
    private_key  = try(file(pathexpand(var.ssh_private_key_path)), null)
    bastion_host = var.bastion_address == "" ? null : var.bastion_address
    timeout      = "10m"
  }

  provisioner "remote-exec" {
    inline = [
      "export EXPORT_ADDRESS='${var.export_address}' EXPORT_PATH='${var.export_path}'",
      file("${path.module}/../../scripts/wait_for_export.sh"),
    ]
  }
}
