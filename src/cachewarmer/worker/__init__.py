"""The worker: claims work items, reads them, and acknowledges each only after its bytes were read."""

from cachewarmer.worker.worker import Worker

__all__ = ["Worker"]
