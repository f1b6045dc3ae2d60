data "google_compute_network" "main" {
  name = var.network
}

data "google_compute_subnetwork" "main" {
  name   = var.subnetwork
  region = var.region
}

# The way from the network to Cloud SQL, where there is none yet.
resource "google_compute_global_address" "services" {
  count         = var.private_services_range == "" ? 0 : 1
  name          = "${var.name_prefix}-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = var.private_services_range
  prefix_length = 24
  network       = data.google_compute_network.main.id
}

resource "google_service_networking_connection" "services" {
  count                   = length(google_compute_global_address.services)
  network                 = data.google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services[0].name]
  update_on_creation_fail = true
}

# SSH to the manager from Identity-Aware Proxy alone; nothing else leads in.
resource "google_compute_firewall" "ssh" {
  name          = "${var.name_prefix}-ssh"
  network       = data.google_compute_network.main.id
  source_ranges = ["35.235.240.0/20"]
  target_tags   = [var.name_prefix]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}
