output "ssh_command" {
  description = "Signs in on the manager's VM."
  value       = "gcloud compute ssh --tunnel-through-iap --project ${var.project} --zone ${var.zone} ${google_compute_instance.manager.name}"
}

output "status_command" {
  description = "Shows the jobs; to be run on the manager's VM."
  value       = "sudo cachewarmer-with-broker status"
}

output "submit_command" {
  description = "Warms one more path; to be run on the manager's VM."
  value       = "sudo cachewarmer-with-broker submit --wait nfs://${join(",", var.cache_addresses)}/PATH"
}

output "workers" {
  description = "The managed instance group."
  value       = google_compute_region_instance_group_manager.workers.name
}

output "database_address" {
  description = "Where the broker is, inside the network."
  value       = google_sql_database_instance.main.private_ip_address
}
