"""cachewarmer fills a read-through NFS cache before a compute farm needs it."""

__version__ = "0.1.0"
