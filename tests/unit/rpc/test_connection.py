"""The connection without its socket: whatever way the bytes come, the same events."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.connection import MAX_EMPTY_FRAGMENTS, Connection
from cachewarmer.rpc.message import auth_sys
from cachewarmer.rpc.receiving import ReadReply, Refusal, Reply
from cachewarmer.testing import Faults, MemoryTree
from cachewarmer.testing.procedures import Procedures

SIZES = {b"a": 10, b"b": 3, b"c": 4096, b"d": 1}
TREE = MemoryTree(SIZES)
HANDLES = {name: TREE.handle(TREE.child(TREE.root, name)) for name in SIZES}


def conversation():
    """A connection with calls in flight, and the stream of replies to them."""
    served = Procedures(TREE, Faults(), ("/export",))
    connection = Connection(auth_sys(0, 0))
    stream = b""
    calls = [
        connection.call_read(HANDLES[b"a"], 0, 10, "a"),
        connection.call(nfs3.PROGRAM, 3, nfs3.GETATTR, nfs3.encode_handle(HANDLES[b"a"]), "getattr", 1024),
        connection.call_read(HANDLES[b"c"], 0, 8192, "c"),
        connection.call_read(bytes(24), 0, 10, "stale"),
        connection.call(nfs3.PROGRAM, 3, 21, b"", "no such procedure", 1024),
        connection.call_read(HANDLES[b"b"], 1, 1, "b"),
        connection.call_read(HANDLES[b"d"], 9, 1, "past the end"),
    ]
    for call in calls:
        _, _, parts = served.answer(call[4:], privileged=True)
        stream += b"".join(parts)
    return connection, stream


def plain(events):
    """Events that compare: a reply by the bytes of its results."""
    made = []
    for event in events:
        if isinstance(event, Reply):
            made.append(("reply", event.context, event.results.data[event.results.position :]))
        elif isinstance(event, Refusal):
            made.append(("refusal", event.context, str(event.error)))
        else:
            made.append(event)
    return made


def feed(connection, stream, sizes, *, discard=False):
    """Feeds the stream in pieces of these sizes, the last one again and again; optionally drops what may be dropped."""
    events = []
    position = 0
    turn = 0
    while position < len(stream):
        size = sizes[min(turn, len(sizes) - 1)]
        turn += 1
        if discard and connection.discardable:
            size = min(size, connection.discardable, len(stream) - position)
            events += connection.discarded(size)
        else:
            piece = stream[position : position + size]
            size = len(piece)
            events += connection.receive(bytearray(piece) + b"\xee" * 7, size)
            if connection.failure is not None:
                break
        position += size
    return plain(events)


CONNECTION, STREAM = conversation()
EXPECTED = feed(CONNECTION, STREAM, [len(STREAM)])
ENDS = [0]
while ENDS[-1] < len(STREAM):
    ENDS.append(ENDS[-1] + 4 + (struct.unpack_from(">I", STREAM, ENDS[-1])[0] & 0x7FFFFFFF))


def refragmented(stream, cuts):
    """The same records in fragments of these lengths, taken in turn."""
    made = b""
    turn = 0
    for start, end in itertools.pairwise(ENDS):
        body = stream[start + 4 : end]
        while True:
            length = cuts[turn % len(cuts)]
            turn += 1
            piece, body = body[:length], body[length:]
            made += struct.pack(">I", len(piece) | (0 if body else 0x80000000)) + piece
            if not body:
                break
    return made


def test_the_events_are_those_of_the_calls():
    """READs come back with status, count and eof, other calls with results, refusals with their reason."""
    reads = [event for event in EXPECTED if isinstance(event, ReadReply)]
    assert reads == [
        ReadReply("a", 0, 10, True),
        ReadReply("c", 0, 4096, True),
        ReadReply("stale", nfs3.STALE, 0, False),
        ReadReply("b", 0, 1, False),
        ReadReply("past the end", 0, 0, True),
    ]
    assert [event[:2] for event in EXPECTED if not isinstance(event, ReadReply)] == [
        ("reply", "getattr"),
        ("refusal", "no such procedure"),
    ]
    assert CONNECTION.in_flight == 0
    assert CONNECTION.oldest_xid is None


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=40), discard=st.booleans())
def test_any_splitting_of_the_bytes_gives_the_same_events(sizes, discard):
    """TCP may cut the stream anywhere, and the driver may drop payload unseen."""
    connection, stream = conversation()
    assert feed(connection, stream, sizes, discard=discard) == EXPECTED
    assert connection.in_flight == 0


@given(
    cuts=st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(any),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    discard=st.booleans(),
)
@settings(max_examples=60)
def test_any_fragments_give_the_same_events(cuts, sizes, discard):
    """A record may come in any number of fragments, empty ones too (RFC 5531 section 11)."""
    connection, stream = conversation()
    assert feed(connection, refragmented(stream, cuts), sizes, discard=discard) == EXPECTED


@pytest.mark.parametrize("discard", [False, True])
def test_a_connection_that_ends_anywhere_loses_no_call(discard):
    """At every offset, each call has been answered by an event or is among those to be asked again, never both."""
    everything = {event.context if isinstance(event, ReadReply) else event[1] for event in EXPECTED}
    for length in [*range(1200), *range(1200, len(STREAM), 97)]:
        connection, stream = conversation()
        events = feed(connection, stream[:length], [length or 1, 1], discard=discard)
        answered = [event.context if isinstance(event, ReadReply) else event[1] for event in events]
        assert (connection.oldest_xid is None) == (not connection.in_flight)
        again = connection.abandon()
        assert set(answered) | set(again) == everything
        assert len(answered) + len(again) == len(everything)


@given(
    good=st.integers(0, 7), garbage=st.binary(min_size=1, max_size=600), sizes=st.lists(st.integers(1, 500), min_size=1)
)
def test_garbage_after_good_replies_raises_nothing_else(good, garbage, sizes):
    """Whatever follows, the replies before it count, and the error is RemoteProtocolError."""
    connection, stream = conversation()
    end = ENDS[good]
    try:
        events = feed(connection, stream[:end] + garbage, sizes)
    except RemoteProtocolError:
        assert connection.failure is not None
        return
    assert events[:good] == EXPECTED[:good]


@given(data=st.data())
def test_a_damaged_stream_raises_nothing_else(data):
    """Changed words anywhere, marks and lengths included: events or RemoteProtocolError, and no call is lost."""
    connection, stream = conversation()
    damaged = bytearray(stream)
    at = 4 * data.draw(st.integers(0, 60))
    word = data.draw(st.sampled_from([0, 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 401]) | st.integers(0, 2**32 - 1))
    damaged[at : at + 4] = word.to_bytes(4, "big")
    events = []
    sizes = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=5))
    position = 0
    try:
        for size in [*sizes, len(stream)]:
            piece = bytes(damaged[position : position + size])
            position += len(piece)
            events += connection.receive(piece, len(piece))
    except RemoteProtocolError:
        pass
    assert len(events) + len(connection.abandon()) == 7


def test_after_a_failure_no_byte_is_taken():
    """The error is kept and raised again: a driver can't go on by accident."""
    connection, stream = conversation()
    events = connection.receive(stream[: ENDS[1]] + b"\xff" * 40, ENDS[1] + 40)
    assert plain(events) == EXPECTED[:1]
    assert connection.failure is not None
    with pytest.raises(RemoteProtocolError):
        connection.receive(stream, len(stream))


def test_empty_fragments_without_end_are_refused():
    """They are legal, and a server that sends nothing else must not hold us."""
    connection, _ = conversation()
    with pytest.raises(RemoteProtocolError, match="empty fragments"):
        connection.receive(bytes(4 * (MAX_EMPTY_FRAGMENTS + 1)), 4 * (MAX_EMPTY_FRAGMENTS + 1))


@pytest.mark.parametrize("mark", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_huge_length_is_refused_once_the_xid_is_known(mark):
    """Nothing is buffered because a server says so: neither for a READ nor for another call."""
    for start in (0, ENDS[1]):
        connection, stream = conversation()
        reply = struct.pack(">I", mark) + stream[start + 4 : start + 40]
        with pytest.raises(RemoteProtocolError, match="longer than"):
            connection.receive(reply, len(reply))


def test_a_reply_to_no_call_is_refused():
    """A wrong xid, or the same reply twice."""
    connection, stream = conversation()
    with pytest.raises(RemoteProtocolError, match="never made"):
        connection.receive(stream[:4] + b"\x5a" * 4 + stream[8:], len(stream))
    connection, stream = conversation()
    twice = stream[: ENDS[1]] * 2
    assert plain(connection.receive(twice, len(twice))) == EXPECTED[:1]
    assert "never made" in str(connection.failure)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"HTTP/1.1 400 Bad Request\r\nServer: inside\r\n\r\n",
        b"220 mail.inside.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
        bytes([0x4A, 0, 0, 0, 10]) + b"8.0.36-inside" + bytes(60),
        bytes(4) + b"secret-token-of-a-service",
    ],
)
def test_nothing_of_what_another_service_answers_is_in_the_error(said):
    """Whoever posts a job chooses the port, and reads the error: it holds no byte of the answer, as text or as a number."""
    connection = Connection(auth_sys(0, 0), first_xid=0x12345678)
    connection.call(nfs3.PROGRAM, 3, nfs3.NULL, b"", "call", 1024)
    with pytest.raises(RemoteProtocolError) as caught:
        connection.receive(said, len(said))
    shown = str(caught.value).casefold()
    for size in (4, 8):
        for start in range(len(said) - size + 1):
            part = said[start : start + size]
            forms = {part.hex(), str(int.from_bytes(part)), str(int.from_bytes(part, "little"))}
            text = part.decode("latin-1").strip().casefold()
            assert not any(form in shown for form in forms if len(form) > 3)
            assert len(text) < 4 or text not in shown.replace("server", "")
