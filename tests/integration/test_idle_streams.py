"""Ten thousand readers of the page's events: all but a few are refused, and the page is served after them."""

import asyncio
import contextlib
import resource
import socket

from cachewarmer.web.api import MOST_STREAMS
from cachewarmer.web.listening import MOST_CONNECTIONS
from tests.unit.web.conftest import site, site_of  # noqa: F401  # fixtures

READERS = 10_000
ASK = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
MOST_HELD = 2 * MOST_CONNECTIONS


def peak_kilobytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def test_ten_thousand_idle_streams_are_bounded(site):  # noqa: F811
    """Few are answered, few connections are held, and the memory does not grow by more than 50 MB."""
    before = peak_kilobytes()
    loop = asyncio.get_running_loop()
    held = []
    try:
        for number in range(READERS):
            one = socket.socket()
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", site.server.port))
            with contextlib.suppress(OSError):
                await loop.sock_sendall(one, ASK)
            if number < MOST_HELD:
                held.append(one)
            else:
                one.close()
            assert len(site.server.connections()) <= MOST_CONNECTIONS
        answered = 0
        for one in held:
            with contextlib.suppress(OSError):
                answered += (await loop.sock_recv(one, 64)).startswith(b"HTTP/1.1 200")
        assert 0 < answered <= MOST_STREAMS
        assert peak_kilobytes() - before < 50 * 1024
    finally:
        for one in held:
            one.close()
    while site.server.connections():
        await asyncio.sleep(0.01)
    assert (await site.ask("GET", "/"))[0] == 200
