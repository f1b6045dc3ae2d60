output "address" {
  description = "The server's address, known when it exports."
  value       = var.export_address
  depends_on  = [terraform_data.export]
}
