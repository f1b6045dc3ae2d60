"""The page, and the JSON API under it, that a manager or ``warm`` serves of its broker."""

from __future__ import annotations

from cachewarmer.web.address import HttpSettings
from cachewarmer.web.server import WebServer

__all__ = ["HttpSettings", "WebServer"]
