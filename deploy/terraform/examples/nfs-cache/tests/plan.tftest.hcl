# terraform test: plans the example with a provider that only pretends, so no account is needed.

mock_provider "azurerm" {}

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

run "as_configured" {
  command = plan

  assert {
    condition     = local.prefixes == { controller = "10.20.0.0/25", servers = "10.20.0.128/25", endpoints = "10.20.1.0/25", workers = "10.20.2.0/23" }
    error_message = "The subnets tile the network."
  }
  assert {
    condition     = azurerm_network_security_rule.ssh.destination_port_range == "22" && azurerm_network_security_rule.ssh.source_address_prefixes == toset(["203.0.113.7/32"])
    error_message = "SSH is let in from the named source alone."
  }
  assert {
    condition     = length(azurerm_subnet_nat_gateway_association.main) == 3
    error_message = "Controller, servers and workers have a way out."
  }
}

run "without_internet" {
  command = plan

  variables {
    allow_internet       = false
    controller_public_ip = false
  }

  assert {
    condition     = keys(azurerm_subnet_nat_gateway_association.main) == ["controller"] && azurerm_network_security_rule.resource_manager[0].destination_address_prefix == "AzureResourceManager"
    error_message = "The manager alone gets out, and to Azure Resource Manager alone."
  }
  assert {
    condition     = alltrue([for rule in azurerm_network_security_rule.no_internet : rule.access == "Deny" && rule.priority > azurerm_network_security_rule.resource_manager[0].priority]) && length(azurerm_network_security_rule.no_internet) == 4
    error_message = "All else is refused, on every subnet."
  }
  assert {
    condition     = !strcontains(module.cache_config.text, "packages") && !strcontains(module.filer_config.text, "packages")
    error_message = "No package is fetched."
  }
}

run "without_internet_or_fleet" {
  command = plan

  variables {
    allow_internet = false
    worker_count   = 0
  }

  assert {
    condition     = length(azurerm_nat_gateway.main) + length(azurerm_public_ip.nat) + length(azurerm_subnet_nat_gateway_association.main) == 0
    error_message = "Nothing leads out."
  }
}

run "open_to_the_world" {
  command = plan

  variables {
    ssh_source_prefixes = ["0.0.0.0/0"]
  }

  expect_failures = [var.ssh_source_prefixes]
}
