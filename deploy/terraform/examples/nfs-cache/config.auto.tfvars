# Change the first six; the rest is a start.
subscription_id      = "00000000-0000-0000-0000-000000000000"
location             = "westeurope"
resource_group_name  = "cachewarmer-example"
ssh_source_prefixes  = ["203.0.113.7/32"]
ssh_public_key_path  = "~/.ssh/id_rsa.pub"
ssh_private_key_path = "~/.ssh/id_rsa"

name_prefix   = "warm"
address_space = "10.20.0.0/22"

image = {
  publisher = "Canonical"
  offer     = "ubuntu-24_04-lts"
  sku       = "server"
  version   = "latest"
}

controller_vm_size = "Standard_D2s_v5"

filer_vm_size = "Standard_D4s_v5"
filer_disk_gb = 256
sample_files  = 2000

cache_vm_size           = "Standard_L8s_v3"
cache_nfsd_threads      = 256
cache_mount_connections = 8

worker_count    = 4
worker_vm_sizes = ["Standard_D2s_v5", "Standard_D2as_v5", "Standard_D2ds_v5"]

cachewarmer_path  = "../../../../dist/cachewarmer"
queue_name_prefix = "example"
warm_paths        = ["/sample"]
