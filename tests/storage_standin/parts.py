"""What the services of the account have in common: requests, answers and refusals (REST reference, Status and error codes)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


class RefusedError(Exception):
    """An error of the service, with its code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code

    def json(self, text: str) -> bytes:
        """As the table service says it."""
        said = {"odata.error": {"code": self.code, "message": {"lang": "en-US", "value": text}}}
        return json.dumps(said).encode()

    def xml(self) -> bytes:
        """As the queue service says it."""
        return f'<?xml version="1.0"?><Error><Code>{self.code}</Code><Message>no</Message></Error>'.encode()


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    path: str
    """Behind the account, not decoded."""
    query: dict[str, str]
    headers: dict[str, str]
    """Their names in lower case."""
    body: bytes
