"""The queues and tables of an Azure storage account in memory, whose calls cost the same whatever is stored.

``python -m tests.storage_standin.account`` serves one account on loopback and prints its connection string, and for each line
of its standard input the operations so far. What the real service and Azurite do with a large account does not
show here: this is for what a client asks of them. It checks no signature.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.storage_standin.parts import Answer, RefusedError, Request
from tests.storage_standin.queues import Queues
from tests.storage_standin.tables import Tables

ACCOUNT = "warmtest"
KEY = base64.b64encode(bytes(48)).decode()


class Service:
    """One service on a port of its own. HTTP/1.1 with lengths, as the SDK speaks it."""

    def __init__(self, serve: Callable[[Request], tuple[str, Answer]], operations: Counter[str]) -> None:
        self._serve = serve
        self._operations = operations

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if line}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(self._answer(method, target, headers, body))
                await writer.drain()
        writer.close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        request = Request(method, url.path.removeprefix(f"/{ACCOUNT}"), query, headers, body)
        try:
            name, answer = self._serve(request)
        except RefusedError as error:
            name = "Refused"
            xml = "json" not in headers.get("accept", "")
            kind = "application/xml" if xml else "application/json"
            said = {"x-ms-error-code": error.code, "content-type": kind}
            answer = Answer(error.status, error.xml() if xml else error.json("no"), said)
        self._operations[name] += 1
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        fixed = f"Date: {formatdate(usegmt=True)}\r\nx-ms-version: 2020-10-02\r\nContent-Length: {len(answer.body)}\r\n"
        return f"HTTP/1.1 {answer.status} Said\r\n{fixed}{lines}\r\n".encode() + answer.body


class Account:
    """An account in this process, as long as its ``async with`` block runs."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        """By the names of the REST reference; those that were refused together."""
        self.connection_string = ""
        self._tables = Tables()
        self._stack = contextlib.AsyncExitStack()

    @property
    def rows_given(self) -> int:
        """Rows in the answers to queries."""
        return self._tables.rows_given

    async def __aenter__(self) -> Self:
        said = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        for name, serve in (("Queue", Queues().serve), ("Table", self._tables.serve)):
            service = Service(serve, self.operations)
            server = await asyncio.start_server(service.connected, "127.0.0.1", 0, limit=1 << 23)
            await self._stack.enter_async_context(server)
            said += f"{name}Endpoint=http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT};"
        self.connection_string = said
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@contextlib.contextmanager
def storage() -> Iterator[tuple[str, Callable[[], Counter[str]]]]:
    """The connection string of an account in a process of its own, and what asks it for its operations so far."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage_standin.account"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asked, answers = child.stdin, child.stdout

        def operations() -> Counter[str]:
            asked.write("\n")
            asked.flush()
            return Counter(json.loads(answers.readline()))

        try:
            yield answers.readline().strip(), operations
        finally:
            child.terminate()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serves until its standard input ends; for each line of it, prints the operations so far."""
    async with Account() as account:
        _say(account.connection_string)
        while await asyncio.to_thread(sys.stdin.readline):
            _say(json.dumps(account.operations))


if __name__ == "__main__":
    asyncio.run(main())
