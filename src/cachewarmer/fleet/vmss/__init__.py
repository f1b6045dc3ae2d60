"""The fleet of Spot VMs in an Azure VM scale set."""
