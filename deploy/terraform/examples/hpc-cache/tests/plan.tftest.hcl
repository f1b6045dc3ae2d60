# terraform test: plans the example with a provider that only pretends, so no account is needed.

mock_provider "azurerm" {}

override_module {
  target = module.bootstrap
  outputs = {
    bootstrap_mount_address                   = "10.1.0.4"
    bootstrap_export_path                     = "/data"
    bootstrap_version                         = "1"
    cachewarmer_manager_bootstrap_script_path = "/bootstrap/bootstrap.cachewarmer-manager.sh"
    cachewarmer_worker_bootstrap_script_path  = "/bootstrap/bootstrap.cachewarmer-worker.sh"
  }
}

variables {
  ssh_public_key_path = "tests/key.pub"
  cachewarmer_path    = "versions.tf"
}

run "retired" {
  command = plan

  expect_failures = [azurerm_hpc_cache.cache]
}

run "where_it_is_still_made" {
  command = plan

  variables {
    hpc_cache_can_be_made = true
  }

  assert {
    condition     = azurerm_virtual_network.main["filer"].location != azurerm_hpc_cache.cache.location
    error_message = "The filer is far from the cache."
  }
  assert {
    condition     = one(azurerm_hpc_cache_nfs_target.filer.namespace_junction).namespace_path == "/nfs1data"
    error_message = "The filer's export appears in the cache's namespace."
  }
}
