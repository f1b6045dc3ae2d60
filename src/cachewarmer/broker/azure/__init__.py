"""The broker on an Azure storage account: queues for the work, a table for the results."""
