resource "google_sql_database_instance" "main" {
  # checkov:skip=CKV_GCP_6:ssl_mode refuses what is not encrypted; the scanner knows the argument that it replaced.
  # checkov:skip=CKV_GCP_79:The version that the program's own tests run against; later ones work too.
  # checkov:skip=CKV_GCP_108:The database is looked up by address; names would be asked for at every connection.
  # checkov:skip=CKV_GCP_109:Warnings are of use; statements with file names are not logged.
  # checkov:skip=CKV_GCP_110:One user and one program; there is nothing to audit apart.
  # checkov:skip=CKV_GCP_111:Thousands of statements a second, with file names in them.
  # checkov:skip=CKV2_GCP_13:As above.
  name                = var.name_prefix
  region              = var.region
  database_version    = "POSTGRES_15"
  deletion_protection = var.deletion_protection
  depends_on          = [google_service_networking_connection.services]

  settings {
    tier              = var.database_tier
    edition           = "ENTERPRISE"
    availability_type = "ZONAL"
    disk_type         = "PD_SSD"
    disk_autoresize   = true

    ip_configuration {
      ipv4_enabled    = false
      private_network = data.google_compute_network.main.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled = true
    }

    # Two connections a process, and some to look with.
    database_flags {
      name  = "max_connections"
      value = tostring(max(50, 2 * (var.worker_count + 1) + 20))
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
  }
}

resource "google_sql_database" "warm" {
  name     = "warm"
  instance = google_sql_database_instance.main.name
}

resource "google_sql_user" "warm" {
  name     = "warm"
  instance = google_sql_database_instance.main.name
  password = var.database_password
}

# The broker's URL, which only the two service accounts may read.
resource "google_secret_manager_secret" "broker" {
  secret_id = "${var.name_prefix}-broker"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "broker" {
  secret      = google_secret_manager_secret.broker.id
  secret_data = "postgresql://${google_sql_user.warm.name}:${var.database_password}@${google_sql_database_instance.main.private_ip_address}/${google_sql_database.warm.name}?sslmode=require"
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = { manager = google_service_account.manager.email, worker = google_service_account.worker.email }
  secret_id = google_secret_manager_secret.broker.id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${each.value}"
}
