# One Linux VM with a key for SSH, and what hangs on it.

resource "azurerm_public_ip" "vm" {
  count = var.public_ip ? 1 : 0

  name                = "${var.name}-ip"
  resource_group_name = var.resource_group_name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = var.tags
}

resource "azurerm_network_interface" "vm" {
  # checkov:skip=CKV_AZURE_119:Only a VM for which it is asked gets a public address; its subnet admits SSH from named sources alone.
  # checkov:skip=CKV2_AZURE_39:The serial console asks for a role in Azure, and it is the way in when the network is not.
  name                           = "${var.name}-nic"
  resource_group_name            = var.resource_group_name
  location                       = var.location
  accelerated_networking_enabled = var.accelerated_networking
  tags                           = var.tags

  ip_configuration {
    name                          = "main"
    subnet_id                     = var.subnet_id
    private_ip_address_allocation = var.private_ip_address == null ? "Dynamic" : "Static"
    private_ip_address            = var.private_ip_address
    public_ip_address_id          = one(azurerm_public_ip.vm[*].id)
  }
}

resource "azurerm_linux_virtual_machine" "vm" {
  # checkov:skip=CKV_AZURE_50:The VM agent stays able to run extensions: an operator without SSH needs the run command.
  name                       = var.name
  resource_group_name        = var.resource_group_name
  location                   = var.location
  size                       = var.size
  network_interface_ids      = [azurerm_network_interface.vm.id]
  source_image_id            = var.image_id
  encryption_at_host_enabled = var.encryption_at_host
  tags                       = var.tags

  admin_username                  = var.admin_username
  disable_password_authentication = true
  admin_ssh_key {
    username   = var.admin_username
    public_key = var.ssh_public_key
  }

  # What cloud-init does, it does once: a new text means a new VM.
  custom_data = var.cloud_config == null ? null : base64encode(var.cloud_config)

  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "StandardSSD_LRS"
  }

  dynamic "source_image_reference" {
    for_each = var.image_id == null ? [var.image] : []
    content {
      publisher = source_image_reference.value.publisher
      offer     = source_image_reference.value.offer
      sku       = source_image_reference.value.sku
      version   = source_image_reference.value.version
    }
  }

  dynamic "identity" {
    for_each = length(var.identity_ids) > 0 ? [true] : []
    content {
      type         = "UserAssigned"
      identity_ids = var.identity_ids
    }
  }

  # Boot diagnostics in storage that Azure manages: the serial console, without an account of one's own.
  boot_diagnostics {}
}

resource "azurerm_managed_disk" "data" {
  # checkov:skip=CKV_AZURE_93:Encrypted with keys that Azure manages; a disk encryption set belongs to who runs the subscription.
  count = var.data_disk_gb > 0 ? 1 : 0

  name                          = "${var.name}-data"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  storage_account_type          = var.data_disk_type
  create_option                 = "Empty"
  disk_size_gb                  = var.data_disk_gb
  public_network_access_enabled = false
  network_access_policy         = "DenyAll"
  tags                          = var.tags
}

resource "azurerm_virtual_machine_data_disk_attachment" "data" {
  count = var.data_disk_gb > 0 ? 1 : 0

  managed_disk_id    = azurerm_managed_disk.data[0].id
  virtual_machine_id = azurerm_linux_virtual_machine.vm.id
  lun                = 0
  caching            = "ReadOnly"
}
