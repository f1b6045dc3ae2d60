# terraform test: plans the example with a provider that pretends; nothing is signed in to.

mock_provider "google" {
  mock_data "google_compute_network" {
    defaults = {
      id = "projects/render-farm/global/networks/render"
    }
  }
}

variables {
  cachewarmer_path  = "versions.tf"
  database_password = "not-a-real-password"
}

run "as_configured" {
  command = plan

  assert {
    condition     = google_compute_instance_template.worker.scheduling[0].provisioning_model == "SPOT" && google_compute_instance_template.worker.scheduling[0].instance_termination_action == "DELETE"
    error_message = "Workers are Spot VMs that go when they are taken away."
  }
  assert {
    condition     = google_compute_region_autoscaler.workers.autoscaling_policy[0].min_replicas == 0 && google_compute_region_autoscaler.workers.autoscaling_policy[0].max_replicas == 4
    error_message = "The group shrinks to nothing."
  }
  assert {
    condition     = !google_sql_database_instance.main.settings[0].ip_configuration[0].ipv4_enabled
    error_message = "The database has no public address."
  }
  assert {
    condition     = length(google_service_networking_connection.services) == 1
    error_message = "The network gets a way to Cloud SQL."
  }
}

run "a_network_that_reaches_cloud_sql" {
  command = plan

  variables {
    private_services_range = ""
    worker_count           = 100
  }

  assert {
    condition     = length(google_service_networking_connection.services) == 0
    error_message = "An existing connection is left alone."
  }
  assert {
    condition     = one([for flag in google_sql_database_instance.main.settings[0].database_flags : flag.value if flag.name == "max_connections"]) == "222"
    error_message = "Two connections a process."
  }
}

run "a_password_that_a_url_would_not_take" {
  command = plan

  variables {
    database_password = "short/and@odd"
  }

  expect_failures = [var.database_password]
}
