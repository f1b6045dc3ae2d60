# The cache: what its clients mount is 10.0.1.7:/data, 10.0.1.8:/data, …
cache_mount_addresses = ["10.0.1.7", "10.0.1.8", "10.0.1.9"]
cache_export_path     = "/data"
warm_paths            = ["/tools", "/projects/shot42"]

# The hosts: each reaches the cache and the storage account.
manager_address      = "10.0.2.4"
worker_addresses     = []
admin_username       = "azureuser"
ssh_private_key_path = "~/.ssh/id_rsa"

storage_account   = "renderqueue"
queue_name_prefix = "shot42"
cachewarmer_path  = "../../../../dist/cachewarmer"
