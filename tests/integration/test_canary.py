"""The canary: NULL on a connection of its own."""

import asyncio
import socket
import struct
import sys
import threading
import time

import pytest

from cachewarmer.errors import TransportError
from cachewarmer.rpc.message import auth_sys
from cachewarmer.targets import open_session
from cachewarmer.targets.base import Mount
from cachewarmer.targets.nfs3.canary import NullCanary
from cachewarmer.testing import ScriptedServer, wire
from cachewarmer.testing.proxy import CountingProxy
from tests.integration.scripted import SETTINGS

DELAY_SECONDS = 0.03


async def test_its_time_is_the_server_s_and_it_connects_again_after_that_went_away():
    """The proxy in between makes each way longer; when it is gone, the call fails as an outage, and the next one works."""
    async with ScriptedServer({}) as server:
        proxy = CountingProxy(server.host, server.port, delay_seconds=DELAY_SECONDS)
        async with proxy:
            mount = Mount(
                address=server.host, transport="nfs", export="/export", nfs_port=proxy.port, mount_port=server.port
            )
            session = await open_session(mount, SETTINGS)
            canary = session.canary()
            assert canary is not None
            assert await canary.call() >= 2 * DELAY_SECONDS
            assert await canary.call() >= 2 * DELAY_SECONDS
            assert proxy.calls["NULL"] == 2
        with pytest.raises(TransportError):
            await canary.call()
        async with CountingProxy(server.host, server.port, listen_port=proxy.port):
            await canary.call()
            canary.close()
            await session.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when an answer arrived")
async def test_an_answer_that_lies_in_the_socket_while_this_process_computes_counts_from_its_arrival():
    """What keeps this process busy keeps nobody else waiting, so it is not to shrink the window."""
    blocked_seconds = 0.3
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            while record := connection.recv(4096):
                xid = wire.read_call(record[4:]).xid
                connection.sendall(struct.pack(">7I", 1 << 31 | 24, xid, 1, 0, 0, 0, 0))

    thread = threading.Thread(target=answer)
    thread.start()

    async def dial():
        sock = socket.create_connection(listener.getsockname())
        sock.setblocking(False)
        return sock

    canary = NullCanary(dial, auth_sys(0, 0), "cache", 30.0)
    try:
        await canary.call()
        for _ in range(10):  # the system begins to take the time some moments after it was asked to
            asking = asyncio.create_task(canary.call())
            await asyncio.sleep(0)
            time.sleep(blocked_seconds)  # noqa: ASYNC251  # this is the point of it
            seconds = await asking
            assert seconds >= 0
            if seconds < blocked_seconds / 2:
                break
        else:
            pytest.fail("no answer counted from its arrival")
    finally:
        canary.close()
        listener.close()
        thread.join()
