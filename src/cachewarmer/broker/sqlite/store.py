"""The transactions of the SQLite broker: synchronous, on one connection, for use by one thread."""

from __future__ import annotations

from cachewarmer.broker.sqlite.jobs import JobSteps
from cachewarmer.broker.sqlite.ledger import LedgerSteps
from cachewarmer.broker.sqlite.work import WorkSteps


class Store(JobSteps, WorkSteps, LedgerSteps):
    """An open file with all methods of the broker. Each public method is one transaction."""
