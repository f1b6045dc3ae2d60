# Change the first seven; the rest is a start.
subscription_id      = "00000000-0000-0000-0000-000000000000"
location             = "eastus"
filer_location       = "westus2"
resource_group_name  = "cachewarmer-hpc-cache"
ssh_source_prefixes  = ["203.0.113.7/32"]
ssh_public_key_path  = "~/.ssh/id_rsa.pub"
ssh_private_key_path = "~/.ssh/id_rsa"

name_prefix          = "render"
render_address_space = "10.0.0.0/16"
filer_address_space  = "10.1.0.0/24"

image = {
  publisher = "Canonical"
  offer     = "ubuntu-24_04-lts"
  sku       = "server"
  version   = "latest"
}

controller_vm_size = "Standard_D2s_v5"
filer_vm_size      = "Standard_D4s_v5"
filer_disk_gb      = 256
sample_files       = 2000

cache_throughput = "Standard_2G"
cache_size_in_gb = 3072

worker_count      = 12
cachewarmer_path  = "../../../../dist/cachewarmer"
queue_name_prefix = "render"
warm_paths        = ["/sample"]
