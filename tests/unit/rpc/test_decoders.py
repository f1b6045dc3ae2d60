"""Decoders of results: against the scripted server's encoders, cut off anywhere, and fed with anything."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import LocalProtocolError, RemoteProtocolError
from cachewarmer.rpc import mount3, nfs3, nfs3_listing, portmap
from cachewarmer.rpc.message import check_reply
from cachewarmer.rpc.xdr import Unpacker, pack_opaque
from tests.unit.rpc.replies import FIXTURES, decode_readdir, decode_readdirplus, handle, root

NAMES = [name for name, _, _ in FIXTURES]
BY_NAME = {name: (results, decode) for name, results, decode in FIXTURES}
DECODERS = sorted({decode for _, _, decode in FIXTURES} | {check_reply}, key=lambda one: one.__qualname__)


def decoded(name):
    results, decode = BY_NAME[name]
    return decode(Unpacker(results))


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_takes_a_reply_to_its_last_byte(name):
    """What another encoder wrote is understood, and nothing is left over but attributes nobody needs."""
    results, decode = BY_NAME[name]
    reply = Unpacker(results)
    decode(reply)
    if not name.startswith(("lookup", "fsinfo")):
        assert reply.position == len(results)


@pytest.mark.parametrize("name", NAMES)
def test_a_reply_cut_off_anywhere_is_the_servers_fault(name):
    """Every truncation raises RemoteProtocolError and never anything else; only what is never read may be missing.

    But a listing cut off between two entries, or before its end flag, is a part after which there is more.
    """
    results, decode = BY_NAME[name]
    whole = Unpacker(results)
    full = decode(whole)
    for length in range(whole.position):
        try:
            part = decode(Unpacker(results[:length]))
        except RemoteProtocolError:
            continue
        assert name.startswith("readdir")
        assert part.cookie
        assert part.entries == full.entries[: len(part.entries)]
        assert not part.eof


@given(decode=st.sampled_from(DECODERS), results=st.binary(max_size=400))
def test_garbage_is_the_servers_fault(decode, results):
    """Random bytes are decoded or refused with RemoteProtocolError; nothing else ever comes out."""
    with contextlib.suppress(RemoteProtocolError):
        decode(Unpacker(results))


@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_damaged_reply_is_the_servers_fault(data, name):
    """A few changed words of a good reply: decoded or refused with RemoteProtocolError."""
    results, decode = BY_NAME[name]
    damaged = bytearray(results)
    for _ in range(data.draw(st.integers(1, 3))):
        at = 4 * data.draw(st.integers(0, len(results) // 4 - 1))
        word = data.draw(
            st.sampled_from([0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, len(results), 255]) | st.integers(0, 2**32 - 1)
        )
        damaged[at : at + 4] = word.to_bytes(4, "big")
    with contextlib.suppress(RemoteProtocolError):
        decode(Unpacker(bytes(damaged)))


@given(value=st.binary(max_size=100), most=st.integers(0, 100), lead=st.integers(0, 3))
def test_an_opaque_survives_the_wire(value, most, lead):
    """decode(encode(x)) is x, all bytes are used, and too long a value is refused on either side."""
    if len(value) > most:
        with pytest.raises(LocalProtocolError):
            pack_opaque(value, most)
        with pytest.raises(RemoteProtocolError):
            Unpacker(pack_opaque(value, len(value))).opaque(most)
        return
    packed = bytes(4 * lead) + pack_opaque(value, most)
    assert len(packed) % 4 == 0
    reader = Unpacker(packed, 4 * lead)
    assert reader.opaque(most) == value
    assert reader.position == len(packed)


def test_names_and_links_come_through_as_bytes():
    """Names are bytes: neither decoded nor cut; the two directories of dots are left out."""
    names = [entry.name for entry in decoded("readdirplus-full").entries]
    assert names == [b"file", b"\xff\xfe raw\n", b"link", b"dir"]
    assert [entry.name for entry in decoded("readdirplus-bare").bare] == names
    assert [entry.name for entry in decoded("readdir-bare").bare] == names
    assert decoded("readlink-bare") == b"file"


def test_a_listing_says_what_the_server_left_out():
    """Attributes and handles are optional; their absence is told, not guessed."""
    full, bare = decoded("readdirplus-full"), decoded("readdirplus-bare")
    file = nfs3_listing.ListedEntry(b"file", 1, 1000, 1_700_000_000.5, handle(b"file"), 2, 1, 1_700_000_000.0)
    assert full.entries[0] == file
    assert (full.bare, bare.entries) == ([], [])
    assert all(entry[2:] == (None, b"") for entry in bare.bare)
    assert (full.eof, full.cookie) == (True, 6)
    assert (bare.eof, bare.cookie) == (True, 6)


def test_mount_gives_the_root_handle_and_the_export_list_its_paths():
    """MNT and EXPORT as another encoder wrote them."""
    assert decoded("mnt") == mount3.MountReply(0, root(), (1,))
    assert [export.path for export in decoded("exports")] == [b"/export", b"/export/dir"]
    assert (decoded("getport"), decoded("getaddr")) == (2049, 2049)


def test_a_listing_that_claims_no_entry_follows_may_be_empty():
    """An empty directory's listing keeps the cookie that was asked with."""
    empty = bytes(4) + bytes(8) + bytes(4) + (1).to_bytes(4, "big")
    for decode in (decode_readdirplus, decode_readdir):
        assert decode(Unpacker(empty), 5) == nfs3_listing.Listing([], [], 5, bytes(8), True)


def test_no_call_that_changes_anything_on_a_server_is_known():
    """Of the procedures of RFC 1813 those alone that look and read; of MOUNT those that find an export."""
    writing = {"SETATTR", "WRITE", "CREATE", "MKDIR", "SYMLINK", "MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK", "COMMIT"}
    assert set(nfs3.PROCEDURES) == {0, 1, 3, 4, 5, 6, 16, 17, 18, 19}
    assert not {name for name in dir(nfs3) if name.isupper()} & writing
    assert not [name for name in dir(nfs3) if name.removeprefix("encode_").upper() in writing]
    assert (mount3.MNT, mount3.EXPORT) == (1, 5)
    assert not {name for name in dir(mount3) if name.isupper()} & {"UMNTALL", "DUMP"}


def test_a_dump_of_the_portmapper_is_read_to_its_end_and_never_past_what_is_sensible():
    rows = [(100003, 3, 6, 2049), (100005, 3, 17, 20048)]
    whole = b"".join(struct.pack(">IIIII", 1, *row) for row in rows) + bytes(4)
    assert [tuple(one) for one in portmap.decode_dump(Unpacker(whole))] == rows
    for end in range(len(whole)):
        with pytest.raises(RemoteProtocolError):
            portmap.decode_dump(Unpacker(whole[:end]))
    endless = struct.pack(">IIIII", 1, *rows[0]) * (portmap.MOST_MAPPINGS + 5)
    assert len(portmap.decode_dump(Unpacker(endless))) == portmap.MOST_MAPPINGS
