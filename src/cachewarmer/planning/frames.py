"""Sequences of frames, as compositing programs and render queues write them: ``plate.####.exr 1001-1240`` (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cachewarmer.errors import UsageError

MOST_FRAMES = 1_000_000
"""Maximum number of frames of a sequence: more is probably a mistake."""
MOST_DIGITS = 12
_PLACE = rb"#+|%(?:0(\d{1,2}))?d"
_SEQUENCE = rb"(?s)(.*\S)[ \t]+(-?\d[\d,x-]*)\s*\Z"
_SPAN = rb"(-?\d+)(?:-(-?\d+)(?:x(\d+))?)?\Z"


def frame_paths(line: bytes) -> Iterator[bytes] | None:
    """The paths of a sequence of frames, in the order of its frames; None: the line is not a sequence.

    A run of ``#`` stands for the frame number with at least as many digits; ``%d`` and ``%04d`` mean what they mean to
    ``printf``. If there are several such places, the frame number replaces the last one only.

    Raises:
        UsageError: the frames are invalid, or there are too many of them.
    """
    if b"#" not in line and b"%" not in line:
        return None
    found = re.match(_SEQUENCE, line)
    places = list(re.finditer(_PLACE, found.group(1))) if found else []
    if found is None or not places:
        return None
    place, path = places[-1], found.group(1)
    digits = len(place.group()) if place.group().startswith(b"#") else int(place.group(1) or 0)
    if digits > MOST_DIGITS:
        raise UsageError(f"a frame number of {digits} digits: at most {MOST_DIGITS}", subject=line)
    before, after = path[: place.start()], path[place.end() :]
    frames = _frames(found.group(2), line)
    return (b"%b%0*d%b" % (before, digits, frame, after) for frames_ in frames for frame in frames_)


def _frames(text: bytes, line: bytes) -> list[range]:
    spans = [_span(one, line) for one in text.split(b",")]
    count = sum(len(one) for one in spans)
    if count > MOST_FRAMES:
        raise UsageError(f"{count:,} frames: at most {MOST_FRAMES:,} in one sequence", subject=line)
    return spans


def _span(text: bytes, line: bytes) -> range:
    found = re.match(_SPAN, text)
    if found is None:
        raise UsageError(
            f"not a range of frames: {text.decode('ascii')!r}",
            subject=line,
            advice="write 1001-1240, 1001-1240x2 or 1-10,20-30",
        )
    first, last, step = found.group(1), found.group(2) or found.group(1), found.group(3) or b"1"
    if max(len(first), len(last), len(step)) > MOST_DIGITS + 1:
        raise UsageError("a frame number that is too large", subject=line)
    if int(last) < int(first) or not int(step):
        raise UsageError(f"the range of frames {text.decode('ascii')} holds none", subject=line)
    return range(int(first), int(last) + 1, int(step))
