"""Planning: scans a tree, or the files of a list, and packs the files that a job wants into work items."""
