"""Structured data of log messages (job, item, address), for logs that programs read (``--log-format json``)."""

from __future__ import annotations

import logging
from typing import Any

ATTRIBUTE = "about"
"""The attribute of a ``logging.LogRecord`` that holds a dictionary of these parts."""


def about(**parts: Any) -> dict[str, dict[str, Any]]:
    """The ``extra`` of a logging call: ``job``, ``item``, ``address``, ``worker``, or what else is known. Empty ones are left out."""
    return {ATTRIBUTE: {key: value for key, value in parts.items() if value not in ("", None)}}


def parts_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a message is about; empty where nothing was said of it."""
    found = getattr(record, ATTRIBUTE, None)
    return found if isinstance(found, dict) else {}
