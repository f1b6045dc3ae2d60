# The program and the scripts that install it: the bootstrap folder, as one archive would be, in a bucket of its own.
locals {
  bootstrap = "${path.module}/../../../bootstrap"
  systemd   = "${path.module}/../../../systemd"
  logging   = "${path.module}/../../../logging"
  folder = merge(
    {
      "cachewarmer" = var.cachewarmer_path
      "backoff"     = "${local.systemd}/backoff"
    },
    { for name in ["install.sh", "remove.sh", "first_generation.sh", "bootstrap.cachewarmer-manager.sh", "bootstrap.cachewarmer-worker.sh"] : name => "${local.bootstrap}/${name}" },
    { for name in ["cachewarmer-manager.service", "cachewarmer-worker.service", "cachewarmer-worker@.service", "kernel-mounts.conf"] : "systemd/${name}" => "${local.systemd}/${name}" },
    { for name in ["rsyslog.conf", "logrotate.conf"] : "logging/${name}" => "${local.logging}/${name}" },
  )
  # What each VM compares with before it runs anything of the folder.
  sums = join("", [for name in sort(keys(local.folder)) : "${filesha256(local.folder[name])}  ${name}\n"])
}

resource "google_storage_bucket" "program" {
  # checkov:skip=CKV_GCP_62:It holds the program that anybody may have; each VM compares it with sums that came another way.
  name                        = "${var.project}-${var.name_prefix}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  versioning {
    enabled = true
  }
}

resource "google_storage_bucket_object" "program" {
  for_each = local.folder
  bucket   = google_storage_bucket.program.name
  name     = each.key
  source   = each.value
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = { manager = google_service_account.manager.email, worker = google_service_account.worker.email }
  bucket   = google_storage_bucket.program.name
  role     = "roles/storage.objectViewer"
  member   = "serviceAccount:${each.value}"
}
