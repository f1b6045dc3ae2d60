"""The page and the JSON API that a manager or ``warm`` serves for its broker."""

from __future__ import annotations

from cachewarmer.web.address import HttpSettings
from cachewarmer.web.server import WebServer

__all__ = ["HttpSettings", "WebServer"]
