"""From a tree to work items."""
