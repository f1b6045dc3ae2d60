terraform {
  # terraform_data came with 1.4. OpenTofu's versions begin above that.
  required_version = ">= 1.4"
}
