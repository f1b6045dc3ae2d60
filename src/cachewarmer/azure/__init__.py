"""What the Azure broker and the Azure fleet share: signing in, calls with their errors and retries, the metadata service."""
