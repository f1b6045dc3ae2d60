"""The manager: takes jobs, scans their trees, publishes work items as it scans, and settles each job at its end."""

from cachewarmer.manager.manager import Manager

__all__ = ["Manager"]
