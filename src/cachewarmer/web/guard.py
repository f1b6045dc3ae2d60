"""Checks whether a request is allowed, before any handler runs."""

from __future__ import annotations

import hmac
import logging
import secrets
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from cachewarmer.errors import (
    BrokerError,
    CacheWarmerError,
    InvalidMessage,
    InvalidTransition,
    InvalidValue,
    UnknownJob,
    UsageError,
)
from cachewarmer.paths import to_bytes
from cachewarmer.web.address import HttpSettings

log = logging.getLogger(__name__)

API = "/api/"
METRICS = "/metrics"
SAFE_METHODS = ("GET", "HEAD")
HEADERS = {
    # Nothing but our own files, no inline script or style, and nobody may frame the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATUSES: tuple[tuple[type[CacheWarmerError], int], ...] = (
    (UnknownJob, 404),
    (InvalidTransition, 409),
    (InvalidMessage, 400),
    (InvalidValue, 400),
    (UsageError, 400),
)
"""What an error means to who asked; a broker that does not answer is 503, and anything else 500."""


class Guard:
    """Lets through what may pass.

    With a token, every call of the API has to name it (``Authorization: Bearer TOKEN``, RFC 6750). Without one,
    whoever reaches the address may look; what changes something needs a token that this process draws and tells only to
    pages of its own origin.
    """

    def __init__(self, settings: HttpSettings, *, any_host: bool = False) -> None:
        """``any_host``: the token alone decides, whatever name the server was asked by."""
        self._settings = settings
        self._any_host = any_host
        self.page_token = "" if settings.token else secrets.token_urlsafe(32)
        """What the page needs to act where no token is configured."""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The checks, and what every answer carries."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = problem(error.status, error.text or error.reason)
            response.headers.update(
                {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
            )
        except CacheWarmerError as error:
            response = problem(status_of(error), str(error))
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = problem(500, "a fault of this program: see its log")
        if not response.prepared:
            add_headers(response, request)
        return response

    def _check(self, request: web.Request) -> None:
        if not self._any_host and not self._settings.serves(request.headers.get("Host", "")):
            raise web.HTTPMisdirectedRequest(text=f"this server does not have that name: {self._settings.other_names}")
        origin = request.headers.get("Origin")
        if origin is not None and not _same(origin, request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="requests from pages of other sites are refused")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="requests from pages of other sites are refused")
        if not request.path.startswith(API) and request.path != METRICS:
            return
        if not self._settings.token and request.method in SAFE_METHODS:
            return
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self._settings.token or self.page_token}"
        if not hmac.compare_digest(to_bytes(given), wanted.encode()):
            raise web.HTTPUnauthorized(text="a token is needed: Authorization: Bearer TOKEN")


def _same(origin: str, host: str) -> bool:
    """Whether an ``Origin`` (RFC 6454) is the host that was asked; a proxy in front may have taken TLS off."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def add_headers(response: web.StreamResponse, request: web.Request) -> None:
    """What every answer carries."""
    response.headers.update(HEADERS)
    cached = "no-store" if request.path.startswith(API) else "no-cache"
    response.headers.setdefault("Cache-Control", cached)
    if response.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"


def problem(status: int, said: str) -> web.Response:
    """An answer that says in one line what is wrong."""
    return web.json_response({"error": said}, status=status)


def status_of(error: CacheWarmerError) -> int:
    """The status code of an error of ours."""
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return status
    return 503 if isinstance(error, BrokerError) and error.transient else 500
