"""One Azure storage queue with our messages: sent as plain JSON, taken with a lease, renewed, changed, deleted."""

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
"""Messages of one Get Messages call (REST reference)."""
FOR_EVER = -1
"""Time to live: a paused job may wait longer than the service's default of 7 days."""
FORBIDDEN = 403
BAD_REQUEST = 400
GONE = frozenset({"MessageNotFound", "PopReceiptMismatch"})
"""The codes that say somebody else took the message, or it was deleted."""


class Token(NamedTuple):
    """What a lease's ``token`` says."""

    message_id: str
    pop_receipt: str
    queue: str
    """Its name."""

    @classmethod
    def parse(cls, text: str) -> Token:
        return cls(*text.split(" ", 2))

    def __str__(self) -> str:
        return " ".join(self)


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is ours until ``expires_at`` (Unix seconds; before the service thinks so)."""

    token: Token
    text: str
    deliveries: int
    expires_at: float


class Queue:
    """One queue; ``optional``: it may be missing, which then is not an error. Every method raises ``BrokerUnavailable`` after its retries, ``BrokerError`` when it is refused."""

    def __init__(self, client: QueueClient, *, optional: bool = False) -> None:
        self._client = client
        self._optional = optional
        self.name: str = client.queue_name

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    async def create(self) -> None:
        """Makes the queue if it is missing. An identity that may not make queues finds it there."""
        await create(f"making the queue {self.name}", self._client.create_queue, self._is_there)

    async def _is_there(self) -> bool:
        try:
            return await self.exists()
        except BrokerError:
            return False

    async def exists(self) -> bool:
        """Whether there is such a queue."""
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
        """Up to ``most`` messages (32 at most), each out of others' sight for ``lease_seconds``; None: there is no such
        queue, or it is not for us.
        """
        most = min(most, MOST_AT_ONCE)
        visible_in = max(1, _whole(lease_seconds))  # Get Messages takes no 0

        async def first_page() -> tuple[float, list[Taken]]:
            # Asked before the call, so that our idea of the end is never later than the service's.
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
                # Where we have no role on it, the service does not say whether it is there.
                if not (self._optional and error.status_code in (FORBIDDEN, NOT_FOUND)):
                    raise
        return None

    async def change(self, token: Token, seconds: float, text: str | None = None) -> tuple[Token, float]:
        """Keeps the message out of sight for ``seconds`` from now, with a new ``text`` if one is given.

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
        """Takes the message off the queue for good; False if it was no longer ours to take."""
        try:
            with doing(f"deleting from the queue {self.name}", _lost_or_refused) as call:
                await call(self._client.delete_message, token.message_id, token.pop_receipt)
        except LeaseLost:
            return False
        return True

    async def try_taking(self) -> None:
        """Deletes and changes a message that is not there: it is found missing only by who may do so."""
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
        """By how many seconds the service's clock is ahead of ours; its answers bear whole seconds."""
        clock = ServiceClock()
        began = time.time()
        with doing(f"looking at the queue {self.name}") as call:
            await call(self._client.get_queue_properties, raw_response_hook=clock.look)
        ours = (began + time.time()) / 2
        ahead = clock.now.timestamp() + 0.5 - ours
        return 0.0 if abs(ahead) <= 1.0 else ahead

    async def length(self) -> int:
        """About how many messages there are, in sight or not."""
        with doing(f"asking for the length of the queue {self.name}") as call:
            try:
                properties = await call(self._client.get_queue_properties)
            except ResourceNotFoundError:
                return 0
        return properties.approximate_message_count or 0

    async def peek(self) -> list[tuple[str, str]]:
        """Id and text of the first messages that are in sight (32 at most), which stay where they are."""
        with doing(f"looking at the queue {self.name}") as call:
            try:
                found = await call(self._client.peek_messages, max_messages=MOST_AT_ONCE)
            except ResourceNotFoundError:
                if not self._optional:
                    raise
                return []
        return [(one.id, one.content) for one in found]


def _whole(seconds: float) -> int:
    """The service counts whole seconds, up to 7 days."""
    return max(0, min(7 * 24 * 3600, math.ceil(seconds)))


def _lost_or_refused(error: BaseException, what: str) -> BrokerError:
    if isinstance(error, HttpResponseError) and (error_code(error) in GONE or isinstance(error, ResourceNotFoundError)):
        return LeaseLost(f"{what}: another process has it by now ({error_code(error)})")
    return translated(error, what)
