"""An Azure storage queue: messages are sent as plain JSON, taken with a lease, renewed, changed and deleted."""

from __future__ import annotations

import base64
import math
import time
from typing import NamedTuple
from uuid import uuid4

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from cachewarmer.azure.calls import NOT_FOUND, create, doing, error_code, translated
from cachewarmer.broker.azure.clock import ServiceClock
from cachewarmer.errors import BrokerError, LeaseLost
from cachewarmer.values import dataclass
from cachewarmer.wire import MAX_MESSAGE_BYTES

MOST_AT_ONCE = 32
"""Maximum number of messages in one Get Messages call (REST reference)."""
FOR_EVER = -1
"""Time to live without an end: a paused job may wait longer than the service's default of 7 days."""
FORBIDDEN = 403
BAD_REQUEST = 400
GONE = frozenset({"MessageNotFound", "PopReceiptMismatch"})
"""The codes of a message that somebody else has taken, or that was deleted."""


class Token(NamedTuple):
    """The parts of the ``token`` of a lease."""

    message_id: str
    pop_receipt: str
    queue: str
    """The name of the queue."""

    @classmethod
    def parse(cls, text: str) -> Token:
        return cls(*text.split(" ", 2))

    def __str__(self) -> str:
        return " ".join(self)


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is leased until ``expires_at`` (Unix seconds), which is no later than by the service's count."""

    token: Token
    text: str
    deliveries: int
    expires_at: float


class Queue:
    """One queue. If it is ``optional``, it is not an error that it is missing.

    Raises (every method): BrokerUnavailable: the service can't be reached, after retries. BrokerError: it refuses.
    """

    def __init__(self, client: QueueClient, *, optional: bool = False) -> None:
        self._client = client
        self._optional = optional
        self.name: str = client.queue_name

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    async def create(self) -> None:
        """Creates the queue if it is missing. For an identity that may not create queues, it must exist."""
        await create(f"making the queue {self.name}", self._client.create_queue, self._is_there)

    async def _is_there(self) -> bool:
        try:
            return await self.exists()
        except BrokerError:
            return False

    async def exists(self) -> bool:
        """Whether the queue exists."""
        with doing(f"looking at the queue {self.name}") as call:
            try:
                await call(self._client.get_queue_properties)
            except ResourceNotFoundError:
                return False
        return True

    async def send(self, text: str) -> bool:
        """Puts a message at the end; False if there is no such queue. Raises ``BrokerError`` if it is too long."""
        length = len(text.encode("utf-8"))
        if length > MAX_MESSAGE_BYTES:
            raise BrokerError(f"a message of {length} bytes is too long for {self.name}: at most {MAX_MESSAGE_BYTES}")
        with doing(f"posting to the queue {self.name}") as call:
            try:
                await call(self._client.send_message, text, time_to_live=FOR_EVER)
            except ResourceNotFoundError:
                if not self._optional:
                    raise
                return False
        return True

    async def receive(self, most: int, lease_seconds: float) -> list[Taken] | None:
        """Takes up to ``most`` messages (32 at most), each invisible to others for ``lease_seconds``.

        None: the queue is optional, and is missing or may not be read.
        """
        most = min(most, MOST_AT_ONCE)
        visible_in = max(1, _whole(lease_seconds))  # Get Messages takes no 0

        async def first_page() -> tuple[float, list[Taken]]:
            # Read before the call, so that the lease never ends later here than at the service.
            expires = time.time() + visible_in
            pager = self._client.receive_messages(
                messages_per_page=most, max_messages=most, visibility_timeout=visible_in
            )
            async for page in pager.by_page():
                return expires, [
                    Taken(Token(one.id, one.pop_receipt or "", self.name), one.content, one.dequeue_count or 1, expires)
                    async for one in page
                ]
            return expires, []

        with doing(f"taking from the queue {self.name}") as call:
            try:
                return (await call(first_page))[1]
            except HttpResponseError as error:
                # Without a role on the queue, the service does not tell whether it exists.
                if not (self._optional and error.status_code in (FORBIDDEN, NOT_FOUND)):
                    raise
        return None

    async def change(self, token: Token, seconds: float, text: str | None = None) -> tuple[Token, float]:
        """Keeps a message invisible to others for ``seconds`` from now, with a new ``text`` if one is given.

        Returns the new token and when it ends. Raises ``LeaseLost`` if the message is no longer ours.
        """
        expires = time.time() + _whole(seconds)
        with doing(f"renewing a message of the queue {self.name}", _lost_or_refused) as call:
            changed = await call(
                self._client.update_message,
                token.message_id,
                token.pop_receipt,
                content=text,
                visibility_timeout=_whole(seconds),
            )
        return token._replace(pop_receipt=changed.pop_receipt or ""), expires

    async def delete(self, token: Token) -> bool:
        """Deletes a message; False: it was no longer leased with this token."""
        try:
            with doing(f"deleting from the queue {self.name}", _lost_or_refused) as call:
                await call(self._client.delete_message, token.message_id, token.pop_receipt)
        except LeaseLost:
            return False
        return True

    async def try_taking(self) -> None:
        """Tries to change a message that does not exist, which the service reports only to those who may do so."""
        nobody = Token(str(uuid4()), base64.b64encode(bytes(16)).decode(), self.name)
        for attempt in (
            lambda: self._client.delete_message(nobody.message_id, nobody.pop_receipt),
            lambda: self._client.update_message(nobody.message_id, nobody.pop_receipt, visibility_timeout=1),
        ):
            with doing(f"changing messages of the queue {self.name}") as call:
                try:
                    await call(attempt)
                except HttpResponseError as error:
                    if error.status_code not in (BAD_REQUEST, NOT_FOUND) or error_code(error) == "QueueNotFound":
                        raise

    async def time_ahead(self) -> float:
        """By how many seconds the service's clock is ahead of ours; 0: no more than its whole seconds can show."""
        clock = ServiceClock()
        began = time.time()
        with doing(f"looking at the queue {self.name}") as call:
            await call(self._client.get_queue_properties, raw_response_hook=clock.look)
        ours = (began + time.time()) / 2
        ahead = clock.now.timestamp() + 0.5 - ours
        return 0.0 if abs(ahead) <= 1.0 else ahead

    async def length(self) -> int:
        """The approximate number of messages, visible or not; 0 also if the queue is missing."""
        with doing(f"asking for the length of the queue {self.name}") as call:
            try:
                properties = await call(self._client.get_queue_properties)
            except ResourceNotFoundError:
                return 0
        return properties.approximate_message_count or 0

    async def peek(self) -> list[tuple[str, str]]:
        """The id and text of the first visible messages (32 at most), which stay on the queue."""
        with doing(f"looking at the queue {self.name}") as call:
            try:
                found = await call(self._client.peek_messages, max_messages=MOST_AT_ONCE)
            except ResourceNotFoundError:
                if not self._optional:
                    raise
                return []
        return [(one.id, one.content) for one in found]


def _whole(seconds: float) -> int:
    """The seconds rounded up to whole ones, from 0 to 7 days, as the service requires."""
    return max(0, min(7 * 24 * 3600, math.ceil(seconds)))


def _lost_or_refused(error: BaseException, what: str) -> BrokerError:
    if isinstance(error, HttpResponseError) and (error_code(error) in GONE or isinstance(error, ResourceNotFoundError)):
        return LeaseLost(f"{what}: another process has it by now ({error_code(error)})")
    return translated(error, what)
