"""Turns the choices of a user into jobs and lists of files.

What is invalid is told in the words of the command line: ``arguments.in_words_of_functions`` translates them.
"""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cachewarmer.addresses import all_addresses, each_address
from cachewarmer.choice.values import Selection
from cachewarmer.errors import CacheWarmerError, InvalidValue, UsageError
from cachewarmer.filters import parse_filter_file
from cachewarmer.model import Bandwidth, Priority, Transport, Wanted, WarmJob
from cachewarmer.paths import to_bytes, to_text
from cachewarmer.target import Target, make_job, parse_target
from cachewarmer.targets.base import Identity

if TYPE_CHECKING:  # what only lists of files want is loaded for them
    from cachewarmer.planning.pathmap import PathMap

log = logging.getLogger(__name__)

SLOW_BYTES_PER_SECOND = 64 * 1024
"""A limit below this is more likely a slip of the unit than what was meant."""
MAX_RULES_BYTES = 1 << 20
"""The longest file of ``--filter-from``."""


def jobs_of(
    targets: Sequence[str], selection: Selection, *, resolve: bool = False, tell_slow: bool = True
) -> list[WarmJob]:
    """The job of each TARGET.

    ``resolve``: a host name is read through all of its addresses. Not for a service: it allows names as they are written.
    ``tell_slow``: a bandwidth that hardly anybody means is warned of.

    Raises:
        UsageError: a target or a pattern is invalid.
    """
    _check_list(targets, selection)
    _check_addresses(selection)
    bandwidth = selection.max_bandwidth or Bandwidth()
    if tell_slow:
        warn_of_slow("--max-bandwidth", bandwidth)
    wanted = _wanted(selection)
    made = [
        make_job(
            _as_user(parse_target(target), selection),
            wanted,
            name=selection.name,
            transport=Transport(selection.transport),
            bandwidth=bandwidth,
            has_file_list=has_list(selection),
            priority=Priority(selection.priority),
        )
        for target in targets
    ]
    if selection.ledger or selection.in_order:
        made = [replace(job, ledger=selection.ledger, in_order=selection.in_order) for job in made]
    if resolve and not selection.each_address:
        made = [_resolved(target, job) for target, job in zip(targets, made, strict=True)]
    if selection.access_as or selection.metadata_only:
        made = [_for_readers(job, selection) for job in made]
    if not selection.each_address:
        return made
    return [each_address(job, selection.address_subset, fan_out=selection.fan_out) for job in made]


def has_list(selection: Selection) -> bool:
    """Whether files are named one by one."""
    return selection.files_from is not None or bool(selection.frames or selection.usd)


def _check_list(targets: Sequence[str], selection: Selection) -> None:
    if selection.null and selection.files_from is None:
        raise UsageError("--null needs --files-from")
    if has_list(selection):
        if len(targets) != 1:
            given = "--files-from" if selection.files_from is not None else "--frames" if selection.frames else "--usd"
            raise UsageError(f"{given} needs exactly one TARGET")
    elif selection.maps or selection.in_order:
        raise UsageError(f"{'--map' if selection.maps else '--in-order'} needs --files-from, --frames or --usd")
    else:
        return
    from cachewarmer.planning.frames import frame_paths
    from cachewarmer.planning.pathmap import PathMap
    from cachewarmer.planning.usd import check_usd

    for sequence in selection.frames:
        if frame_paths(to_bytes(sequence)) is None:
            raise UsageError(
                "not a sequence of frames",
                doing="--frames",
                subject=to_bytes(sequence),
                advice="write 'plate.####.exr 1001-1240'",
            )
    PathMap.of(selection.maps)
    for scene in selection.usd:
        check_usd(scene)


def _check_addresses(selection: Selection) -> None:
    for option, given in (("--address-subset", selection.address_subset), ("--fan-out", selection.fan_out)):
        if given and not selection.each_address:
            raise UsageError(f"{option} needs --each-address")


def _resolved(target: str, job: WarmJob) -> WarmJob:
    return job if parse_target(target).resolve_first else all_addresses(job)


def warn_of_slow(what: str, bandwidth: Bandwidth) -> None:
    """Warns of a bandwidth that hardly anybody means."""
    if 0 < bandwidth.lowest < SLOW_BYTES_PER_SECOND:
        log.warning("%s is %d bytes per second for the whole job: is the unit right?", what, bandwidth.lowest)


def _for_readers(job: WarmJob, selection: Selection) -> WarmJob:
    """The job, with what others will ask the cache."""
    if selection.access_as and (job.access.is_local or job.access.transport is Transport.MOUNT):
        raise UsageError("--access-as is for the direct NFS reader")
    try:
        for one in selection.access_as:
            Identity.parse(one)
        return replace(job, access_as=selection.access_as, metadata_only=selection.metadata_only)
    except InvalidValue as error:
        raise UsageError.like(error) from error


def _wanted(selection: Selection) -> Wanted:
    try:
        return Wanted(
            include=selection.include,
            exclude=selection.exclude,
            rules=tuple(rule for name in selection.filter_from for rule in _rules(name)),
            max_file_bytes=selection.max_file_bytes,
            min_file_bytes=selection.min_file_bytes,
            newer_than=selection.newer_than,
            head_bytes=selection.head_bytes,
            tail_bytes=selection.tail_bytes,
            snapshots=selection.snapshots,
            follow_links=selection.follow_links,
            one_file_system=selection.one_file_system,
            hardlink_dedup=selection.hardlink_dedup,
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error


def _rules(name: str) -> tuple[str, ...]:
    """The rules in a file of ``--filter-from``."""
    try:
        with open(name, "rb") as file:
            raw = file.read(MAX_RULES_BYTES + 1)
    except OSError as error:
        raise UsageError(error.strerror or str(error), doing="--filter-from", subject=os.fsencode(name)) from error
    if len(raw) > MAX_RULES_BYTES:
        raise UsageError(f"more than {MAX_RULES_BYTES} bytes", doing="--filter-from", subject=os.fsencode(name))
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return parse_filter_file(raw.decode("utf-16", "replace") if wide else to_text(raw), f"--filter-from {name}")


def _as_user(target: Target, selection: Selection) -> Target:
    """The target, with the ids of the options where it names none itself."""
    if selection.uid is None and selection.gid is None:
        return target
    if target.is_local:
        raise UsageError(
            "--uid and --gid are for NFS",
            subject=os.fsencode(target.path),
            advice="a local path is read as the user who runs the command",
        )
    access = target.access
    uid = selection.uid if access.uid < 0 and selection.uid is not None else access.uid
    gid = selection.gid if access.gid < 0 and selection.gid is not None else access.gid
    try:
        return replace(target, access=replace(access, uid=uid, gid=gid))
    except InvalidValue as error:
        raise UsageError.like(error) from error


def list_of(selection: Selection) -> AsyncIterator[bytes] | None:
    """The chunks of ``--frames``, ``--usd`` and ``--files-from``; None where none of them is given."""
    return _listed(selection) if has_list(selection) else None


async def _listed(selection: Selection) -> AsyncIterator[bytes]:
    from cachewarmer.planning.filelist import scene_chunks, stored_lines
    from cachewarmer.planning.pathmap import PathMap

    mapped = PathMap.of(selection.maps)
    for chunk in stored_lines((to_bytes(one) for one in selection.frames), mapped):
        yield chunk
    for scene in selection.usd:
        async for chunk in scene_chunks(scene, selection.maps):
            yield chunk
    if selection.files_from is not None:
        async for chunk in _chunks(selection.files_from, null=selection.null, mapped=mapped):
            yield chunk


async def _chunks(name: str, *, null: bool, mapped: PathMap) -> AsyncIterator[bytes]:
    from cachewarmer.planning.filelist import list_chunks

    try:
        # Without a buffer of Python's: who reads that holds a lock that the end of the program would wait for.
        place = sys.stdin.fileno() if name == "-" else name
        with open(place, "rb", buffering=0, closefd=place is name) as source:  # noqa: ASYNC230  # opening a list is quick
            async for chunk in list_chunks(source, nul_separated=null, path_map=mapped):
                yield chunk
    except OSError as error:
        raise CacheWarmerError(f"--files-from {name}: {error.strerror}") from error
