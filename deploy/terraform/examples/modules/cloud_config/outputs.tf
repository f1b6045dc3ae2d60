output "text" {
  description = "A #cloud-config document."
  value       = "#cloud-config\n${yamlencode(local.config)}"
}
