"""A proxy before a storage service that does to its answers what a network or an authority may do."""

from __future__ import annotations

import asyncio
import contextlib
import re


class Tamperer:
    """A proxy before one service. ``rule(head)`` says what becomes of a request: pass, lose its answer, 503 or 403."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.rule = lambda head: "pass"
        self.port = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error):
        self.server.close()

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while request := await self.message(reader):
                fate = self.rule(request.split(b"\r\n\r\n")[0].decode("latin-1"))
                if fate == "503":
                    writer.write(b"HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n\r\n")
                    continue
                if fate == "403":
                    writer.write(
                        b"HTTP/1.1 403 No\r\nx-ms-error-code: AuthorizationPermissionMismatch\r\nContent-Length: 0\r\n\r\n"
                    )
                    continue
                upstream, up = await asyncio.open_connection("127.0.0.1", self.target)
                up.write(request)
                answer = await self.message(upstream)
                up.close()
                if fate == "lose":
                    break
                writer.write(answer)
        writer.close()

    @staticmethod
    async def message(reader) -> bytes:
        """One HTTP message, whole."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length:
            return head + await reader.readexactly(int(length[1]))
        if b"chunked" not in head.lower():
            return head
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
        return head + body
