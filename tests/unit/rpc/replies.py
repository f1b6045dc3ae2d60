"""One good reply of every kind, made by the scripted server's own encoder, and the decoder that must understand it."""

from __future__ import annotations

import struct

from cachewarmer.rpc import mount3, nfs3, nfs3_listing, portmap
from cachewarmer.rpc.message import auth_sys, call_prefix, encode_record
from cachewarmer.rpc.nfs3_listing import NO_VERIFIER
from cachewarmer.testing import Faults, Link, MemoryTree
from cachewarmer.testing.procedures import Procedures

TREE = {b"file": 1000, b"\xff\xfe raw\n": 1, b"link": Link(b"file"), b"dir": {b"below": 5}}


def ask(faults, program, procedure, arguments):
    """The results in the server's reply to one call, without the reply's head."""
    served = Procedures(MemoryTree(TREE), faults, ("/export", "/export/dir"))
    record = encode_record(7, call_prefix(program, 3, procedure, auth_sys(1, 2, (3,))), arguments)[4:]
    _, _, parts = served.answer(record, privileged=True)
    assert served.complaints == []
    return b"".join(parts)[28:]


def root():
    tree = MemoryTree(TREE)
    return tree.handle(tree.root)


def handle(name):
    tree = MemoryTree(TREE)
    return tree.handle(tree.child(tree.root, name))


def decode_readdirplus(reply, cookie=0):
    return nfs3_listing.decode_readdirplus(reply, cookie, nfs3_listing.ListedEntry)


def decode_readdir(reply, cookie=0):
    return nfs3_listing.decode_readdir(reply, cookie)


def _fixtures():
    """(name, results after the status if there is one, decoder)"""
    bare = Faults(list_attributes=False, list_handles=False, lookup_attributes=False, other_attributes=False)
    listing = nfs3_listing.encode_readdirplus(root(), 0, NO_VERIFIER, 65536, 65536)
    for kind, faults in (("full", Faults()), ("bare", bare)):
        for name, procedure, arguments, decode in (
            ("getattr", nfs3.GETATTR, nfs3.encode_handle(root()), nfs3.decode_getattr),
            ("lookup", nfs3.LOOKUP, nfs3.encode_lookup(root(), b"file"), nfs3.decode_lookup),
            ("readlink", nfs3.READLINK, nfs3.encode_handle(handle(b"link")), nfs3.decode_readlink),
            ("fsinfo", nfs3.FSINFO, nfs3.encode_handle(root()), nfs3.decode_fsinfo),
            ("readdirplus", nfs3.READDIRPLUS, listing, decode_readdirplus),
            (
                "readdir",
                nfs3.READDIR,
                nfs3_listing.encode_readdir(root(), 0, NO_VERIFIER, 65536),
                decode_readdir,
            ),
        ):
            yield f"{name}-{kind}", ask(faults, nfs3.PROGRAM, procedure, arguments)[4:], decode
    yield "mnt", ask(Faults(), mount3.PROGRAM, mount3.MNT, mount3.encode_path(b"/export")), mount3.decode_mnt
    yield "exports", ask(Faults(), mount3.PROGRAM, mount3.EXPORT, b""), mount3.decode_exports
    yield "getport", struct.pack(">I", 2049), portmap.decode_getport
    address = b"::1.8.1"
    yield "getaddr", struct.pack(">I", len(address)) + address + b"\0", portmap.decode_getaddr


FIXTURES = list(_fixtures())
