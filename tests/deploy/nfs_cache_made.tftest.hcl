# The example nfs-cache, made by a provider that pretends, so that every value is known. The real provider would refuse such ids:
# this is for the one that knows its schema alone.

mock_provider "azurerm" {}

# What would sign in by SSH is left out.
override_module {
  target  = module.filer_ready
  outputs = { address = "10.20.0.132" }
}

override_module {
  target  = module.cache_ready
  outputs = { address = "10.20.0.133" }
}

override_module {
  target = module.manager
}

override_module {
  target = module.worker
}

override_module {
  target  = module.jobs
  outputs = { jobs = [{ export = "/data", path = "/sample" }] }
}

override_resource {
  target = module.broker.azurerm_user_assigned_identity.worker
  values = { id = "/workers", client_id = "w", principal_id = "W" }
}

override_resource {
  target = module.broker.azurerm_user_assigned_identity.manager
  values = { id = "/manager", client_id = "m", principal_id = "M" }
}

override_resource {
  target = module.controller.azurerm_public_ip.vm
  values = { ip_address = "198.51.100.9" }
}

override_resource {
  target = module.broker.azurerm_storage_queue.queue
  values = { id = "/queue" }
}

override_resource {
  target = module.broker.azurerm_storage_account.broker
  values = { id = "/account" }
}

override_module {
  target = module.bootstrap
  outputs = {
    bootstrap_mount_address                   = "10.20.0.132"
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

run "made" {
  assert {
    condition     = output.ssh_command == "ssh -i ~/.ssh/id_rsa azureuser@198.51.100.9"
    error_message = "The output signs in on the controller."
  }
  assert {
    condition     = startswith(output.status_command, "AZURE_CLIENT_ID=m cachewarmer status --broker azure://warm") && endswith(output.status_command, "/example")
    error_message = "The output shows the jobs, as the manager's identity."
  }
  assert {
    condition     = local.settings_toml == <<-EOT
      [fleet.vmss]
      allow_internet = true
      identity = "/workers"
      image = "Canonical:ubuntu-24_04-lts:server:latest"
      ssh_public_key = "${trimspace(file("tests/key.pub"))}"
      subnet_name = "workers"
      user_name = "azureuser"
      vm_sizes = "Standard_D2s_v5,Standard_D2as_v5,Standard_D2ds_v5"
    EOT
    error_message = "The manager is told what its workers are."
  }
  assert {
    condition = toset([for one in module.broker.data_roles : join(" ", [one.who, one.role, one.scope])]) == toset([
      "M Storage Queue Data Contributor /account",
      "M Storage Table Data Contributor /account",
      "W Storage Queue Data Contributor /queue",
      "W Storage Queue Data Reader /account",
      "W Storage Table Data Contributor /account",
    ])
    error_message = "Who may do what is what docs/operations.md says."
  }
}
