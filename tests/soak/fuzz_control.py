"""What a mount's control file answers: the same however it is cut, and nothing but an answer or a refusal.

The first byte says after how many bytes it is cut; what has been told after the last byte of an answer does not count.
"""

import struct

from cachewarmer.targets.local.control import Answer, Decoder, Refused

RESULT = b'{"FileCount":5,"SliceCount":9,"TotalBytes":8192,"MissBytes":100}'
PROGRESS = b"\xfe" + struct.pack(">QQ", 3, 4096)
SEEDS = [bytes([piece]) + PROGRESS + b"\xff" + struct.pack(">I", len(RESULT)) + RESULT for piece in (0, 16, 255)] + [
    b"\x00\x00",
    b"\x00\x16",
    b"\x05" + PROGRESS + b"\x05",
]


def fuzz(data: bytes) -> None:
    if not data:
        return
    stream, piece = data[1:], data[0] + 1
    assert answered(stream, len(stream) or 1) == answered(stream, piece)


def answered(stream: bytes, piece: int) -> Answer | str | None:
    """What is made of a stream in such pieces."""
    decoder = Decoder()
    try:
        for place in range(0, len(stream), piece):
            answer = decoder.feed(stream[place : place + piece])
            if answer is not None:
                assert all(count >= 0 for count in answer)
                return answer
    except Refused as error:
        assert str(error).isprintable()
        return str(error)
    return None
