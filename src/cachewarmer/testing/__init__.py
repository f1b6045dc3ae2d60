"""Test tools that are shipped: a scripted NFSv3 server, synthetic trees of any size, a proxy that counts calls.

``python -m cachewarmer.testing --help`` serves a synthetic tree.
"""

from __future__ import annotations

from cachewarmer.testing.faults import Faults, Trick
from cachewarmer.testing.model_cache import ModelCache
from cachewarmer.testing.proxy import CountingProxy
from cachewarmer.testing.server import ScriptedServer
from cachewarmer.testing.synthetic import SyntheticTree
from cachewarmer.testing.tree import Link, MemoryTree, Special, Tree

__all__ = [
    "CountingProxy",
    "Faults",
    "Link",
    "MemoryTree",
    "ModelCache",
    "ScriptedServer",
    "Special",
    "SyntheticTree",
    "Tree",
    "Trick",
]
