"""What a connection is refused for that no waiting mends, and what does. Pure.

A connection that fails before the server takes it has no SQLSTATE: libpq does not keep it. What is left is its text, of
which the parts below are libpq's own, or the server's in English.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_CERTIFICATE = (
    "name a certificate of this user that the server's authority signed: sslcert=FILE&sslkey=FILE in the URL"
)
NO_TICKET = "get a ticket with kinit, or name the cache that holds one in KRB5CCNAME"

REFUSALS: Mapping[str, str] = {
    "certificate verify failed": "name the authority that signed the server's certificate: sslrootcert=FILE in the URL",
    "does not match host name": "name the server as its certificate does",
    "root certificate file": "",
    "does not support SSL": "turn TLS on at the server, or use sslmode=prefer where the network is to be trusted",
    "valid client certificate": NO_CERTIFICATE,
    "alert unknown ca": NO_CERTIFICATE,
    "no encryption": "this server may want TLS: put sslmode=verify-full into the URL",
    "No Kerberos credentials": NO_TICKET,
    "no credential cache": NO_TICKET,
    "Ticket expired": NO_TICKET,
    "not found in Kerberos database": "name the server as its Kerberos principal does (postgres/HOST)",
    "authentication failed": "",
    "no password supplied": "put it into .pgpass or a service file, or use a client certificate or Kerberos",
    "does not exist": "",
    "pg_hba.conf": "",
}
"""Words of a refusal, and what mends it; empty: the refusal says it. The first that are found count."""


def refusal(said: str) -> str | None:
    """One line that says why a connection is refused, and what to do; ``None``: it may be taken later."""
    for words, mend in REFUSALS.items():
        if words in said:
            return f"{said}; {mend}" if mend else said
    return None
