resource "google_service_account" "worker" {
  account_id   = "${var.name_prefix}-worker"
  display_name = "cachewarmer worker"
}

resource "google_project_iam_member" "worker" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${google_service_account.worker.email}"
}

resource "google_compute_instance_template" "worker" {
  name_prefix  = "${var.name_prefix}-worker-"
  machine_type = var.worker_machine_type
  tags         = [var.name_prefix]
  depends_on = [
    google_storage_bucket_object.program, google_storage_bucket_iam_member.reader,
    google_secret_manager_secret_version.broker, google_secret_manager_secret_iam_member.reader,
  ]

  disk {
    source_image = var.image
    auto_delete  = true
    boot         = true
    disk_size_gb = 10
  }

  network_interface {
    subnetwork = data.google_compute_subnetwork.main.id
  }

  # Taken away at 30 s notice, with SIGTERM for the service: it hands back what it holds.
  scheduling {
    provisioning_model          = "SPOT"
    preemptible                 = true
    automatic_restart           = false
    on_host_maintenance         = "TERMINATE"
    instance_termination_action = "DELETE"
  }

  service_account {
    email  = google_service_account.worker.email
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
    startup-script         = local.startup["worker"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_instance_group_manager" "workers" {
  name               = "${var.name_prefix}-workers"
  region             = var.region
  base_instance_name = "${var.name_prefix}-worker"

  version {
    instance_template = google_compute_instance_template.worker.self_link_unique
  }

  # Wherever there is room for Spot VMs; nothing has to be spread evenly.
  distribution_policy_target_shape = "ANY"

  update_policy {
    type                         = "OPPORTUNISTIC"
    minimal_action               = "REPLACE"
    instance_redistribution_type = "NONE"
    max_surge_fixed              = 0
    max_unavailable_fixed        = 10
  }
}

# From none to worker_count and back, by the files that are left: the manager's VM says how many every 20 s.
locals {
  metric = "custom.googleapis.com/${var.name_prefix}/files_left"
}

resource "google_compute_region_autoscaler" "workers" {
  name   = "${var.name_prefix}-workers"
  region = var.region
  target = google_compute_region_instance_group_manager.workers.id

  autoscaling_policy {
    min_replicas    = 0
    max_replicas    = var.worker_count
    cooldown_period = 60

    metric {
      name                       = local.metric
      filter                     = "resource.type = \"global\""
      single_instance_assignment = var.files_per_worker
    }
  }
}
