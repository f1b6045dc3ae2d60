"""Runs verifications for commands, and shows the results."""

from __future__ import annotations

import json
import math
import secrets
from bisect import bisect_right
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cachewarmer.amounts import counted, milliseconds, size
from cachewarmer.cli.colours import Shade, paint
from cachewarmer.cli.exit_codes import ERROR, INCOMPLETE, INTERRUPTED, WARM
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.verifying import Sampling
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.report import MOST_PATHS, problem_lines, warning_line
from cachewarmer.cli.streams import note, show
from cachewarmer.cli.text import columns, shorten
from cachewarmer.config import Settings
from cachewarmer.model import WarmJob
from cachewarmer.paths import printable
from cachewarmer.targets.base import Identity
from cachewarmer.verification.addresses import verify_each
from cachewarmer.verification.found import Found, Verified, document
from cachewarmer.verification.measuring import Aspect
from cachewarmer.verification.verify import Demand

if TYPE_CHECKING:
    import asyncio

BARS = 24
MOST_ROWS = 10
EVIDENCE = {
    "origin": "told by calls that the cache passes on to its origin",
    "reads": "told by the reads themselves",
}


def demand_of(chosen: Sampling) -> Demand:
    """What the command line asks for. The default seed is random, because what one run has read is then warm."""
    return Demand(
        half_width=chosen.interval,
        samples=chosen.samples,
        expected=chosen.expect or 0.0,
        seed=secrets.randbits(31) if chosen.seed is None else chosen.seed,
        aspects=tuple(Aspect(one) for one in chosen.what),
        identity=Identity(*chosen.identity) if chosen.identity else None,
        ask=chosen.ask,
    )


async def verify_jobs(
    jobs: Sequence[WarmJob],
    settings: Settings,
    chosen: Sampling,
    output: Output,
    stop: asyncio.Event,
    file_list: Callable[[WarmJob], AsyncIterable[bytes] | None],
) -> list[Verified]:
    """Verifies the files of each job, one job after the other.

    ``file_list`` returns the list of files of a job, or None; it is called again for each address of the job.
    """
    demand = demand_of(chosen)
    found = []
    with Progress(quiet=output.hides_progress) as progress:
        for job in jobs:
            if stop.is_set():
                break
            lists = partial(file_list, job)
            found += await verify_each(job, settings, demand, on_progress=progress.said, stop=stop, file_list=lists)
    return found


# -- the end -----------------------------------------------------------------------------------------------------------


def finish_verify(found: Sequence[Verified], chosen: Sampling, output: Output) -> int:
    """Shows what was found, and returns the exit code."""
    written = True
    if output.json:
        written = show(json.dumps(document_of(found, chosen), indent=1))
    elif not output.quiet and found:
        written = show("\n".join(all_lines(found, chosen)))
    if not found or any(one.interrupted for one in found):
        if not output.quiet:
            note("cachewarmer: interrupted: the report covers what was read until then")
        return INTERRUPTED
    return code_of(found, chosen) if written else ERROR


def code_of(found: Sequence[Verified], chosen: Sampling) -> int:
    """The exit code: 3 if less is warm than expected, if that can't be determined, or if samples failed; else 0."""
    aspects = [aspect for one in found for aspect in one.aspects]
    failed = any(aspect.failed for aspect in aspects)
    short = chosen.expect is not None and not all(aspect.meets(chosen.expect) for aspect in aspects)
    return INCOMPLETE if failed or short else WARM


def document_of(found: Sequence[Verified], chosen: Sampling) -> dict[str, Any]:
    """The JSON document. For several targets, it has their sums, and each of them in ``targets``."""
    expected = (
        {}
        if chosen.expect is None
        else {"expected": chosen.expect, "met": all(one.meets(chosen.expect) for one in found)}
    )
    return {**document(found), **expected}


def all_lines(found: Sequence[Verified], chosen: Sampling) -> list[str]:
    """The result as text: each target, and at the end a line for each address if addresses were verified separately."""
    said = [line for one in found for line in lines(one, chosen)]
    by_address = [one for one in found if one.address]
    if len(by_address) > 1:
        room = max(len(one.address) for one in by_address)
        said.append("by address:")
        said += [
            f"  {one.address:<{room}}  {_verdict(aspect, chosen, short=True)}"
            for one in by_address
            for aspect in one.aspects
        ]
    return said


def lines(verified: Verified, chosen: Sampling) -> list[str]:
    """The result for one target as text."""
    said = [f"{printable(verified.target)}: {counted(verified.files, 'file')}, {size(verified.bytes)}"]
    for found in verified.aspects:
        said += ["  " + line for line in _aspect_lines(found, chosen)]
    said += [warning_line(warning) for warning in verified.warnings]
    return said


def _aspect_lines(found: Found, chosen: Sampling) -> list[str]:
    said = [_verdict(found, chosen)]
    if found.empty:
        return said
    if found.method != "reads":
        said.append(f"asked: {found.method}; nothing was read")
    elif found.samples:
        said.append(f"{found.samples:,} samples read twice, {size(found.bytes_read)} in all{_how(found)}")
        said += histogram(found.first, found.second, found.threshold_seconds)
    if found.coldest:
        said.append("coldest:")
        room = columns() - 30
        said += [
            f"  {one.cold:>5} of {one.samples:<5} cold  {shorten(one.path, room)}" for one in found.coldest[:MOST_PATHS]
        ]
    if found.failed:
        said.append(f"{paint(f'{found.failed:,} samples could not be read', Shade.BAD)}:")
        said += problem_lines(found.errors)
    if found.vanished:
        said.append(f"{found.vanished:,} samples had vanished")
    return said


def _verdict(found: Found, chosen: Sampling, *, short: bool = False) -> str:
    """What was found, in one line; ``short``: without the reason if nothing can be told, which is shown elsewhere."""
    if found.empty:
        return f"{found.aspect}: there is nothing to read"
    if found.warm is None:
        return f"{found.aspect}: can't tell" + ("" if short else f": {found.reason}")
    share = f"{found.aspect}: {_percent(found.warm.value)} warm"
    if not (found.complete and found.warm.low == found.warm.high):
        share += f" (95 % sure: {_percent(found.warm.low)} to {_percent(found.warm.high)})"
    if chosen.expect is not None:
        met = "as expected"
        if not found.meets(chosen.expect):
            met = paint("less than expected", Shade.BAD)
        share += f", {met} ({_percent(chosen.expect)})"
    return share


def _how(found: Found) -> str:
    if found.warm is None:
        return ""
    return f"; cold above {milliseconds(found.threshold_seconds)} ms, {EVIDENCE.get(found.evidence, '')}"


def _percent(share: float) -> str:
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f} %"


def histogram(first: Sequence[float], second: Sequence[float], threshold: float) -> list[str]:
    """Histograms of the times of first and second reads side by side, on the same logarithmic scale, as lines of text.

    All times are in seconds. A mark shows the threshold; 0: none.
    """
    both = [*first, *second]
    if not both:
        return []
    low, high = max(1e-6, min(both)), max(1e-6, *both)
    rows = max(1, min(MOST_ROWS, math.ceil(math.log2(high / low)) if high > low else 1))
    step = (high / low) ** (1 / rows)
    ends = [low * step ** (row + 1) for row in range(rows)]
    ends[-1] = high
    counts = [_counted(sorted(one), ends) for one in (first, second)]
    most = max(1, *(max(one) for one in counts))
    said = [f"{'up to':>10}  {'first read':<{BARS + 7}} second read"]
    marked = not threshold
    for end, one, two in zip(ends, *counts, strict=True):
        mark = " "
        if not marked and end >= threshold:
            mark, marked = ">", True
        said.append(f"{milliseconds(end):>7} ms{mark} {_bar(one, most):<{BARS + 7}} {_bar(two, most)}".rstrip())
    return said


def _counted(values: Sequence[float], ends: Sequence[float]) -> list[int]:
    above = [bisect_right(values, end * (1 + 1e-9)) for end in ends]
    above[-1] = len(values)
    return [here - before for here, before in zip(above, [0, *above], strict=False)]


def _bar(count: int, most: int) -> str:
    return f"{count:>6,} {'█' * max(1, round(BARS * count / most)) if count else ''}"
