"""ONC RPC, MOUNT3 and NFS3 as bytes in and events out."""
