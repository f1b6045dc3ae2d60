output "id" {
  description = "Changes each time the script has run."
  value       = terraform_data.run.id
}
