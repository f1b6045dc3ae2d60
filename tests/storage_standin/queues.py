"""The queue service (Queue service REST API), as far as the broker and its tests use it."""

from __future__ import annotations

import heapq
import itertools
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from tests.storage_standin.parts import Answer, RefusedError, Request

DATE = "Fri, 01 Jan 2100 00:00:00 GMT"


@dataclass
class Message:
    id: str
    text: str
    """As it stands in XML."""
    receipt: str = ""
    visible_at: float = 0.0
    deliveries: int = 0


class StoredQueue:
    """Messages in the order they came, those out of sight in the order they come back."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self._waiting: deque[str] = deque()
        self._hidden: list[tuple[float, str]] = []

    def put(self, message: Message, now: float) -> None:
        self.messages[message.id] = message
        self.hide(message, now)

    def hide(self, message: Message, now: float) -> None:
        if message.visible_at <= now:
            self._waiting.append(message.id)
        else:
            heapq.heappush(self._hidden, (message.visible_at, message.id))

    def waiting(self, now: float) -> Iterator[Message]:
        """Those in sight; who stops early leaves the others."""
        while self._hidden and self._hidden[0][0] <= now:
            visible_at, name = heapq.heappop(self._hidden)
            message = self.messages.get(name)
            if message is not None and message.visible_at == visible_at:
                self._waiting.appendleft(name)
        for _ in range(len(self._waiting)):
            name = self._waiting.popleft()
            message = self.messages.get(name)
            if message is not None and message.visible_at <= now:
                yield message

    def back(self, messages: list[Message]) -> None:
        """Puts in sight again what was only looked at."""
        self._waiting.extendleft(one.id for one in reversed(messages))


class Queues:
    """The queue service of the account."""

    def __init__(self) -> None:
        self.queues: dict[str, StoredQueue] = {}
        self._numbers = itertools.count()

    def serve(self, request: Request) -> tuple[str, Answer]:
        """The name of the operation, and its answer."""
        parts = [unquote(part) for part in request.path.split("/") if part]
        query = request.query
        if not parts:
            prefix = query.get("prefix", "")
            names = "".join(
                f"<Queue><Name>{one}</Name></Queue>" for one in sorted(self.queues) if one.startswith(prefix)
            )
            return "List Queues", _xml(
                f"<EnumerationResults><Queues>{names}</Queues><NextMarker/></EnumerationResults>"
            )
        name = parts[0]
        if len(parts) == 1 and request.method == "PUT" and "comp" not in query:
            made = name not in self.queues
            self.queues.setdefault(name, StoredQueue())
            return "Create Queue", Answer(201 if made else 204)
        queue = self.queues.get(name)
        if queue is None:
            raise RefusedError(404, "QueueNotFound")
        if len(parts) == 1:
            count = str(len(queue.messages))
            return "Get Queue Metadata", Answer(200, headers={"x-ms-approximate-messages-count": count})
        return self._messages(queue, request, parts)

    def _messages(self, queue: StoredQueue, request: Request, parts: list[str]) -> tuple[str, Answer]:
        query, now = request.query, time.time()
        if len(parts) == 3:  # noqa: PLR2004  # queue, "messages", id
            return self._one(queue, request, parts[2], now)
        if request.method == "POST":
            message = Message(f"m{next(self._numbers)}", _text_in(request.body), self._receipt())
            message.visible_at = now + int(query.get("visibilitytimeout", 0))
            queue.put(message, now)
            return "Put Message", _xml(_listed(message, ""), 201)
        if request.method == "DELETE":
            queue.messages.clear()
            return "Clear Messages", Answer(204)
        taken = list(itertools.islice(queue.waiting(now), int(query.get("numofmessages", 1))))
        if query.get("peekonly") == "true":
            queue.back(taken)
            return "Peek Messages", _xml("".join(_listed(one, one.text) for one in taken))
        for one in taken:
            one.receipt, one.deliveries = self._receipt(), one.deliveries + 1
            one.visible_at = now + int(query.get("visibilitytimeout", 30))
            queue.hide(one, now)
        return "Get Messages", _xml("".join(_listed(one, one.text) for one in taken))

    def _one(self, queue: StoredQueue, request: Request, name: str, now: float) -> tuple[str, Answer]:
        message = queue.messages.get(name)
        if message is None:
            raise RefusedError(404, "MessageNotFound")
        if message.receipt != request.query.get("popreceipt"):
            raise RefusedError(400, "PopReceiptMismatch")
        if request.method == "DELETE":
            del queue.messages[name]
            return "Delete Message", Answer(204)
        message.receipt = self._receipt()
        message.visible_at = now + int(request.query["visibilitytimeout"])
        if request.body:
            message.text = _text_in(request.body)
        queue.hide(message, now)
        return "Update Message", Answer(
            204, headers={"x-ms-popreceipt": message.receipt, "x-ms-time-next-visible": DATE}
        )

    def _receipt(self) -> str:
        return f"p{next(self._numbers)}"


def _text_in(body: bytes) -> str:
    found = re.search(r"<MessageText>(.*)</MessageText>", body.decode(), re.DOTALL)
    return found[1] if found else ""


def _listed(message: Message, text: str) -> str:
    return (
        f"<QueueMessage><MessageId>{message.id}</MessageId><InsertionTime>{DATE}</InsertionTime>"
        f"<ExpirationTime>{DATE}</ExpirationTime><PopReceipt>{message.receipt}</PopReceipt>"
        f"<TimeNextVisible>{DATE}</TimeNextVisible><DequeueCount>{message.deliveries}</DequeueCount>"
        f"<MessageText>{text}</MessageText></QueueMessage>"
    )


def _xml(inside: str, status: int = 200) -> Answer:
    if not inside.startswith("<Enumeration"):
        inside = f"<QueueMessagesList>{inside}</QueueMessagesList>"
    body = f'<?xml version="1.0" encoding="utf-8"?>{inside}'
    return Answer(status, body.encode(), {"content-type": "application/xml"})
