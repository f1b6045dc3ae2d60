"""Kernel NFS mounts."""
