"""The queues of one kind, one for each priority, used as if they were one.

The queue of normal priority has the name that the first CacheWarmer gave it, and always exists. The others are created
when a message is first put there, so that users who do not need them do not pay for requests to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cachewarmer.azure.calls import all_of
from cachewarmer.broker.azure.queues import Queue, Taken, Token
from cachewarmer.model import Priority, Turns

EMPTY_SECONDS = 1.0
"""A high or low queue that was empty is asked again after this time, or sooner if the others have too few messages."""
MISSING_SECONDS = 5.0
"""A queue that was missing is asked again after this time."""


class RankedQueues:
    """The queues of one kind, given by rank; ``clock`` returns seconds that never go back.

    Raises the errors that ``Queue`` documents.
    """

    def __init__(self, queues: Sequence[Queue], clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = queues
        self._clock = clock
        self._normal = queues[Priority.NORMAL.rank]
        self._by_name = {queue.name: queue for queue in queues}
        self._turns = Turns()
        self._due_at = [0.0] * len(queues)
        self._missing_until = [0.0] * len(queues)

    def __repr__(self) -> str:
        return f"<RankedQueues {self._normal.name}>"

    async def create(self) -> None:
        """Creates the normal queue if it is missing."""
        await self._normal.create()

    async def exists(self) -> bool:
        """Whether the normal queue exists."""
        return await self._normal.exists()

    async def try_taking(self) -> None:
        """See ``Queue``, for the normal one."""
        await self._normal.try_taking()

    async def time_ahead(self) -> float:
        """See ``Queue``."""
        return await self._normal.time_ahead()

    async def send(self, text: str, priority: Priority) -> None:
        """Puts a message at the end of the queue of its priority, which is created if it is missing."""
        rank = priority.rank
        if not await self._queues[rank].send(text):
            await self._queues[rank].create()
            await self._queues[rank].send(text)
        self._due_at[rank] = self._missing_until[rank] = 0.0

    # -- receiving -------------------------------------------------------------------------------------------------

    async def receive(self, most: int, lease_seconds: float, least: Priority) -> list[Taken]:
        """Takes up to ``most`` messages of at least the priority ``least``, in turns; see ``Turns``."""
        now = self._clock()
        ranks = [rank for rank in range(least.rank + 1) if self._missing_until[rank] <= now]
        if not ranks:
            return []
        due = [rank for rank in ranks if rank == Priority.NORMAL.rank or self._due_at[rank] <= now] or ranks
        counts, turns = dict.fromkeys(due, 0), self._turns.of(most)
        for rank, count in enumerate(turns):
            counts[rank if rank in due else due[0]] += count
        found: list[Taken] = []
        gives_more = set(ranks)
        # First as many from each queue as it has turns, then the rest from the most urgent ones.
        for rank in (*due, *ranks):
            count = min(counts.pop(rank, most), most - len(found))
            if count > 0 and rank in gives_more:
                taken = await self._take(rank, count, lease_seconds, now)
                found += taken
                if len(taken) < count:
                    gives_more.discard(rank)
        self._turns.taken(len(found))
        return found

    async def _take(self, rank: int, count: int, lease_seconds: float, now: float) -> list[Taken]:
        taken = await self._queues[rank].receive(count, lease_seconds)
        if taken is None:
            self._missing_until[rank] = now + MISSING_SECONDS
        elif not taken:
            self._due_at[rank] = now + EMPTY_SECONDS
        return taken or []

    # -- what is taken ---------------------------------------------------------------------------------------------

    async def change(self, token: Token, seconds: float, text: str | None = None) -> tuple[Token, float]:
        """See ``Queue``."""
        return await self._of(token).change(token, seconds, text)

    async def delete(self, token: Token) -> bool:
        """See ``Queue``."""
        return await self._of(token).delete(token)

    def _of(self, token: Token) -> Queue:
        return self._by_name.get(token.queue, self._normal)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def length(self, priority: Priority | None = None) -> int:
        """The approximate number of messages, visible or not, of one priority or of all."""
        queues = self._queues if priority is None else [self._queues[priority.rank]]
        lengths: list[int] = await all_of(queue.length() for queue in queues)
        return sum(lengths)

    async def peek(self) -> list[list[tuple[str, str]]]:
        """For each queue, the id and text of its first visible messages."""
        return await all_of(queue.peek() for queue in self._queues)
