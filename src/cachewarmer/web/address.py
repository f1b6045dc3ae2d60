"""The address of the page, its token, and the names under which it is served."""

from __future__ import annotations

import ipaddress

from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

LEAST_TOKEN = 16
"""Characters of a token: shorter ones can be guessed."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Checked: see ``HttpSettings.of``."""

    host: str
    port: int
    """0: a free one."""
    names: tuple[str, ...] = ()
    """Further host names that a browser may ask for: those of a proxy in front."""
    token: str = ""
    """What every request has to name; empty: whoever reaches the address may look, and the page alone may act."""
    option: str = "--http"
    """Which option gave it: for messages."""

    @classmethod
    def of(
        cls,
        text: str,
        *,
        names: tuple[str, ...] = (),
        token: str = "",
        option: str = "--http",
    ) -> HttpSettings:
        """From ``ADDRESS:PORT``, the address in brackets where it is IPv6.

        Raises:
            UsageError: it isn't such an address, or it is one that others can reach and no token is given.
        """
        host, port = _parts(text, option)
        if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            raise UsageError(f"the token must be at least {LEAST_TOKEN} printable ASCII characters without a space")
        made = cls(host=host, port=port, names=tuple(name.lower() for name in names), token=token, option=option)
        if not made.is_loopback and not token:
            raise UsageError(
                f"{host} can be reached from other machines: a token is needed there",
                advice=f"set CACHEWARMER_HTTP_TOKEN, or give {option}-token-file",
            )
        return made

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def other_names(self) -> str:
        """What makes it serve a name that it does not know."""
        if self.option == "--http":
            return "see --http-host"
        return f"ask for it by its address, or give it a token ({self.option}-token-file): then any name will do"

    def serves(self, host: str) -> bool:
        """Whether a request may name this host in ``Host`` (RFC 9110, section 7.2); a port behind it is let pass.

        A page of a stranger, whose name resolves to our address, names its own host (DNS rebinding).
        """
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self.names:
            return True
        if self.is_loopback:
            return name in LOOPBACK_NAMES or name == self.host
        if self.host in ("0.0.0.0", "::"):  # noqa: S104  # it is compared, not bound
            return _is_address(name)
        return name == self.host.lower()


def _parts(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{option} takes ADDRESS:PORT, such as 127.0.0.1:8750, not {text!r}")
    if ":" in bare and not host.startswith("["):
        raise UsageError(f"write an IPv6 address in brackets: {option} '[{host}]:{port}'")
    return bare, int(port)


def _is_address(name: str) -> bool:
    """A number can't be pointed elsewhere by whoever owns a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
