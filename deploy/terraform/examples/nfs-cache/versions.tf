terraform {
  required_version = ">= 1.4"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id
  # Nobody has the account's keys, and its endpoints are closed to the machine where Terraform runs.
  storage_use_azuread = true

  features {
    storage {
      data_plane_available = false
    }
  }
}
