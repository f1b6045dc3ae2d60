"""RPC messages (RFC 5531): credentials, call and reply headers, and the marks that divide a stream into records."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cachewarmer.errors import LocalProtocolError, ProcedureUnavailable, RemoteProtocolError, RpcRefused
from cachewarmer.rpc.xdr import Unpacker, pack_opaque

LAST_FRAGMENT = 0x80000000
"""Top bit of a record mark: this fragment ends the record (RFC 5531 section 11)."""
MAX_AUTH_BYTES = 400
"""Maximum length of the body of a credential or verifier (RFC 5531 section 8.2)."""
MAX_GIDS = 16
"""Maximum number of supplementary groups in AUTH_SYS (RFC 5531 appendix A)."""
RPC_VERSION = 2
CALL, REPLY = 0, 1
AUTH_NONE_PAIR = bytes(8)
"""AUTH_NONE as an ``opaque_auth``: flavour 0, no body (RFC 5531 section 10.1)."""

_ACCEPT_STATUS = {
    1: "PROG_UNAVAIL: it does not offer this program",
    2: "PROG_MISMATCH: it does not offer this version",
    3: "PROC_UNAVAIL: it does not offer this procedure",
    4: "GARBAGE_ARGS: it could not decode the arguments",
    5: "SYSTEM_ERR: it had an error of its own",
}
"""``accept_stat`` (RFC 5531 section 9)."""
_AUTH_STATUS = {
    1: "AUTH_BADCRED: bad credential",
    2: "AUTH_REJECTEDCRED: it wants a new session",
    3: "AUTH_BADVERF: bad verifier",
    4: "AUTH_REJECTEDVERF: verifier expired",
    5: "AUTH_TOOWEAK: it wants stronger security (Kerberos: use --transport mount), or a source port below 1024",
    6: "AUTH_INVALIDRESP: bad response verifier",
    7: "AUTH_FAILED",
}
"""``auth_stat`` (RFC 5531 section 9)."""


def auth_sys(uid: int, gid: int, gids: Sequence[int] = (), machine: str = "cachewarmer", stamp: int = 0) -> bytes:
    """A credential of flavour AUTH_SYS, followed by an AUTH_NONE verifier (RFC 5531 appendix A).

    Characters of ``machine`` that are not ASCII are replaced, and it is cut to 255 characters.

    Raises:
        LocalProtocolError: an id does not fit into 32 bits, or there are more than 16 supplementary groups.
    """
    if len(gids) > MAX_GIDS or not all(0 <= one <= 0xFFFFFFFF for one in (uid, gid, *gids)):
        raise LocalProtocolError("AUTH_SYS takes 32-bit ids and at most 16 groups")
    name = machine.encode("ascii", "replace")[:255]
    body = struct.pack(">I", stamp) + pack_opaque(name, 255)
    body += struct.pack(f">III{len(gids)}I", uid, gid, len(gids), *gids)
    return struct.pack(">I", 1) + pack_opaque(body, MAX_AUTH_BYTES) + AUTH_NONE_PAIR


AUTH_NONE = AUTH_NONE_PAIR + AUTH_NONE_PAIR
"""Credential and verifier of a caller that does not identify itself."""


def call_prefix(program: int, version: int, procedure: int, credential: bytes) -> bytes:
    """The part of a call message that is the same for every call of a procedure, from mtype on (RFC 5531 section 9).

    ``credential`` is a credential and a verifier, as ``auth_sys`` returns them.
    """
    return struct.pack(">IIIII", CALL, RPC_VERSION, program, version, procedure) + credential


def encode_record(xid: int, prefix: bytes, arguments: bytes) -> bytes:
    """One call as one record with one fragment (RFC 5531 section 11), ready to be sent.

    ``prefix`` is from ``call_prefix``, and ``arguments`` are the encoded arguments of the procedure.
    """
    return struct.pack(">II", LAST_FRAGMENT | (4 + len(prefix) + len(arguments)), xid) + prefix + arguments


def check_reply(reply: Unpacker) -> RpcRefused | None:
    """Reads a reply message from its mtype on (RFC 5531 section 9), and leaves ``reply`` positioned at the results.

    Returns None if the call was accepted, or the error if the server refused it; the connection survives that.

    Raises:
        RemoteProtocolError: it is not a valid reply. The connection must be closed.
    """
    if reply.u32() != REPLY:
        raise RemoteProtocolError("the server sent a call where a reply belongs")
    reply_status = reply.u32()
    if reply_status == 0:
        reply.u32()
        reply.opaque(MAX_AUTH_BYTES)
        accept_status = reply.u32()
        if accept_status == 0:
            return None
        if accept_status not in _ACCEPT_STATUS:
            raise RemoteProtocolError(f"the server sent accept_stat {accept_status}")
        text = _ACCEPT_STATUS[accept_status]
        if accept_status == 2 and reply.left >= 8:  # some servers leave the versions out
            text += f" (but {reply.u32()} to {reply.u32()})"
        kind = ProcedureUnavailable if accept_status == 3 else RpcRefused
        return kind(f"the server refused the call: {text}")
    if reply_status != 1:
        raise RemoteProtocolError(f"the server sent reply_stat {reply_status}")
    reject_status = reply.u32()
    if reject_status == 0:
        return RpcRefused(f"the server refused the call: RPC version {reply.u32()} to {reply.u32()} only")
    if reject_status != 1:
        raise RemoteProtocolError(f"the server sent reject_stat {reject_status}")
    auth_status = reply.u32()
    return RpcRefused(f"the server refused the call: {_AUTH_STATUS.get(auth_status, f'auth_stat {auth_status}')}")
