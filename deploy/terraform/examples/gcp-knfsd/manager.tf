resource "google_service_account" "manager" {
  account_id   = "${var.name_prefix}-manager"
  display_name = "cachewarmer manager"
}

resource "google_project_iam_member" "manager" {
  for_each = toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])
  project  = var.project
  role     = each.value
  member   = "serviceAccount:${google_service_account.manager.email}"
}

locals {
  startup = {
    for role in ["manager", "worker"] : role => templatefile("${path.module}/scripts/startup.sh", {
      role    = role
      bucket  = google_storage_bucket.program.name
      secret  = "${google_secret_manager_secret.broker.id}/versions/latest"
      project = var.project
      metric  = local.metric
      sums    = local.sums
      gauge   = file("${path.module}/scripts/files_left.py")
      targets = role == "manager" ? [for path in var.warm_targets : "nfs://${join(",", var.cache_addresses)}${path}"] : []
    })
  }
}

resource "google_compute_instance" "manager" {
  # checkov:skip=CKV_GCP_38:Encrypted with keys that Google manages; the disk holds the program and no data of the farm.
  name                      = "${var.name_prefix}-manager"
  machine_type              = var.manager_machine_type
  zone                      = var.zone
  tags                      = [var.name_prefix]
  allow_stopping_for_update = true
  depends_on = [
    google_storage_bucket_object.program, google_storage_bucket_iam_member.reader,
    google_secret_manager_secret_version.broker, google_secret_manager_secret_iam_member.reader,
  ]

  boot_disk {
    initialize_params {
      image = var.image
    }
  }

  network_interface {
    subnetwork = data.google_compute_subnetwork.main.id
  }

  service_account {
    email  = google_service_account.manager.email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
  }

  metadata_startup_script = local.startup["manager"]
}
