"""Sessions for directories of this machine."""
