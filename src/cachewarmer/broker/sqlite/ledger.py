"""The transactions of the SQLite broker for ledgers."""

from __future__ import annotations

from collections.abc import Sequence

from cachewarmer.broker.sqlite.standing import Standings


class LedgerSteps(Standings):
    """Implements the methods of ``Broker`` for ledgers."""

    def pieces(self, job_id: str, after: str) -> list[tuple[str, bytes]]:
        from cachewarmer.model.outcomes import PIECES_AT_ONCE  # only of jobs that keep a ledger

        with self.reading():
            found = self.run("pieces", job_id=job_id, after=after, most=PIECES_AT_ONCE).fetchall()
        return [(row["key"], row["piece"]) for row in found]

    def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        with self.transaction():
            self._check_lease(job_id)
            for key, piece in pieces:
                self.run("add_piece", job_id=job_id, key=key, piece=piece)

    def forget_scanned(self, job_id: str, part: str) -> None:
        with self.transaction():
            self._check_lease(job_id)
            self.run("drop_scanned", job_id=job_id, part=part)

    def forget_ledger(self, job_id: str) -> None:
        with self.transaction():
            self.run("drop_ledger", job_id=job_id)
