"""Sessions over NFS mounts of the kernel."""
