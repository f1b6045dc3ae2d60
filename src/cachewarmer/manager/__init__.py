"""The manager: takes jobs, scans their trees, publishes the work as the scan goes, and closes the books."""

from cachewarmer.manager.manager import Manager

__all__ = ["Manager"]
