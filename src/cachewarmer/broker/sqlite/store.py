"""The SQLite broker's transactions: synchronous, one connection, used by one thread."""

from __future__ import annotations

from cachewarmer.broker.sqlite.jobs import JobSteps
from cachewarmer.broker.sqlite.ledger import LedgerSteps
from cachewarmer.broker.sqlite.work import WorkSteps


class Store(JobSteps, WorkSteps, LedgerSteps):
    """One open file, and what a broker does in it. Each public method is one transaction."""
