# Change the first seven; the rest is a start. The password comes from TF_VAR_database_password.
project                = "render-farm"
region                 = "europe-west4"
zone                   = "europe-west4-a"
network                = "render"
subnetwork             = "render"
private_services_range = "10.60.0.0"
cache_addresses        = ["10.50.0.10", "10.50.0.11", "10.50.0.12"]

warm_targets     = ["/projects/shot42"]
cachewarmer_path = "../../../../dist/cachewarmer"
worker_count     = 4
