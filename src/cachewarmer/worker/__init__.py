"""The worker: claims work items, reads them, and acknowledges each one only after its bytes have been read."""

from cachewarmer.worker.worker import Worker

__all__ = ["Worker"]
