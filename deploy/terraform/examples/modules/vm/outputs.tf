output "private_ip_address" {
  description = "The VM's address in its subnet."
  value       = azurerm_linux_virtual_machine.vm.private_ip_address
}

output "public_ip_address" {
  description = "The VM's public address; null: it has none."
  value       = one(azurerm_public_ip.vm[*].ip_address)
}

output "id" {
  description = "Id of the VM, known when its disk is attached."
  value       = azurerm_linux_virtual_machine.vm.id
  depends_on  = [azurerm_virtual_machine_data_disk_attachment.data]
}
