"""The script of a scripted server: what it does wrong, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from cachewarmer.values import dataclass


class Trick(StrEnum):
    """What a server may do to a connection instead of sending the next reply."""

    DROP = "drop"
    """It closes the connection."""
    DROP_INSIDE = "drop-inside"
    """It closes the connection in the middle of the reply."""
    GARBAGE = "garbage"
    """It sends bytes that mean nothing."""
    HUGE_RECORD = "huge-record"
    """The record mark says 2 GiB − 1."""
    WRONG_XID = "wrong-xid"
    """The reply is to a call that nobody made."""
    CALL = "call"
    """A call stands where the reply belongs."""
    TWICE = "twice"
    """The reply comes two times."""
    EMPTY_FRAGMENTS = "empty-fragments"
    """Fragments without a byte, and no end to them."""
    TRUNCATED = "truncated"
    """The record is whole but its contents end too early."""
    SILENCE = "silence"
    """Nothing more is sent, and the connection stays open."""


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a server does wrong; without arguments it is a good one. Paths are below the export, without a slash in front."""

    # -- what it leaves out --
    list_attributes: bool = True
    """READDIRPLUS gives attributes."""
    list_handles: bool = True
    """READDIRPLUS gives handles."""
    lookup_attributes: bool = True
    """LOOKUP gives those of what it found."""
    other_attributes: bool = True
    """Every other ``post_op_attr`` is there: of READ, FSINFO, READLINK, and of directories."""
    readdirplus: bool = True
    """Off: NFS3ERR_NOTSUPP."""

    # -- limits --
    rtmax: int = 1 << 20
    """Longest READ in bytes; a longer one is answered short."""
    dtpref: int = 1 << 16
    page_entries: int = 0
    """Most entries in one reply to READDIR and READDIRPLUS; 0: as many as the client asks for."""
    most_handles: int = 0
    """The server keeps this many handles, those that it gave or was given last; all others but the root's are stale, until
    LOOKUP gives them again. 0: it keeps all."""
    short_reads: bool = False
    """READ gives at random fewer bytes than were asked for."""
    empty_reads: bool = False
    """READ gives no byte and does not say eof."""

    # -- how it writes --
    fragments: bool = False
    """Records are split into fragments at random places, some of them empty."""
    small_writes: bool = False
    """The bytes go out in pieces of random size."""
    read_delay: float = 0.0
    """Seconds before a READ is answered."""
    list_delay: float = 0.0
    """Seconds before a READDIR or READDIRPLUS is answered."""

    # -- what it answers the first few times --
    jukebox: Mapping[str, int] = field(default_factory=_nothing)
    """By procedure: how often NFS3ERR_JUKEBOX comes first, for each handle."""
    jukebox_status: int = 10008
    """The status (``nfsstat3``) that comes instead of NFS3ERR_JUKEBOX there."""
    jukebox_every: int = 0
    """NFS3ERR_JUKEBOX comes in place of every this many READs of a file; 0: never."""
    stale: Mapping[str, int] = field(default_factory=_nothing)
    """By procedure: how often a handle turns out stale; LOOKUP then gives another one."""
    stale_root: bool = False
    """The root's handle goes stale as well, and only MNT gives another one."""
    bad_cookies: int = 0
    """How often a directory's listing can't continue, whatever verifier comes with the cookie."""
    bad_verifiers: bool = False
    """A cookie is good only with a verifier of zeros."""
    too_small: int = 0
    """Listings of fewer bytes than this are refused with NFS3ERR_TOOSMALL."""
    circling: bool = False
    """The listing of a directory never ends: after its last page comes its first."""

    # -- files and directories that are not what they were --
    denied: frozenset[bytes] = frozenset()
    """NFS3ERR_ACCES on reading the file or listing the directory."""
    failing: Mapping[bytes, int] = field(default_factory=_nothing)
    """READ and listings answer this status (``nfsstat3``)."""
    vanished: frozenset[bytes] = frozenset()
    """Listed; but the handle is stale and LOOKUP finds nothing."""
    hung: frozenset[bytes] = frozenset()
    """READs of these files are never answered, on whichever connection they come."""
    reads_answered: int = -1
    """READs of files that are answered, until no READ is answered any more while all else is; −1: all."""
    real_sizes: Mapping[bytes, int] = field(default_factory=_nothing)
    """Bytes that READ finds in a file, where listings say another size."""

    # -- who may --
    export_list: tuple[str, ...] | None = None
    """What EXPORT shows instead of the truth; None: the truth."""
    mount_status: int = 0
    """What MNT answers (``mountstat3``); 0: the truth."""
    mount_flavours: tuple[int, ...] = (1,)
    mount_below: bool = True
    """MNT of a directory below an export is allowed, though it is in no list."""
    mount_privileged: bool = False
    """MNT only from a source port below 1024."""
    nfs_privileged: bool = False
    """NFS calls only from a source port below 1024: else AUTH_TOOWEAK."""
    nfs_uid: int = -1
    """Every NFS call but NULL answers NFS3ERR_ACCES to other uids; −1: everyone may."""

    # -- what it does to connections --
    trick: Trick | None = None
    trick_after: int = 0
    """Replies of ``trick_program`` that a connection sends well before the trick."""
    trick_times: int = -1
    """On how many connections; −1: all."""
    trick_program: str = "nfs"
    """``nfs`` or ``mount``: whose replies are counted and tricked."""
    seed: int = 1
    """Of all that is random here."""
