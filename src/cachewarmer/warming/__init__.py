"""Reading work items, at a pace."""
