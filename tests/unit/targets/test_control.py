"""JuiceFS's control file: what is written to it, and what its answers are taken for."""

import json
import os
import struct

import pytest

from cachewarmer.targets.local.control import (
    NO_INODE,
    Action,
    Answer,
    Control,
    Decoder,
    Progress,
    Refused,
    controls,
    message,
)
from cachewarmer.targets.mount.table import parse_mountinfo

PROGRESS = b"\xfe" + struct.pack(">QQ", 3, 4096)


def result(**counts):
    text = json.dumps({"FileCount": 5, "SliceCount": 9, "TotalBytes": 8192, "MissBytes": 100, **counts}).encode()
    return b"\xff" + struct.pack(">I", len(text)) + text


def test_a_message_is_what_juicefs_reads():
    """Number 1004, length, the names, how many threads, in the foreground, and what is to be done."""
    assert message(Action.CHECK, [17, 4], 50) == bytes.fromhex("000003ec 00000018 00000010") + (
        b"inode:17\ninode:4" + bytes.fromhex("0032 00 02")
    )


def test_nothing_is_not_asked_for():
    """An empty name is the volume's root: all of it would be fetched."""
    with pytest.raises(ValueError, match="whole volume"):
        message(Action.FILL, [], 1)


@pytest.mark.parametrize("cut", range(1, len(PROGRESS + result())))
def test_an_answer_is_the_same_however_it_is_cut(cut):
    """Records of how far it is come before it."""
    decoder, whole = Decoder(), PROGRESS + result()
    assert decoder.feed(whole[:cut]) is None
    assert decoder.feed(whole[cut:]) == Answer(5, 8192, 100)
    assert decoder.progress == Progress(3, 4096)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"\x00", "does not say"),
        (b"\x16", "Invalid argument"),
        (PROGRESS + b"\x00", "does not say"),
        (b"\xff" + struct.pack(">I", 1 << 30), "does not know"),
        (b"\xff" + struct.pack(">I", 2) + b"{}", "does not know"),
        (b"\xff" + struct.pack(">I", 2) + b"[}", "does not know"),
        (b"\xff" + struct.pack(">I", 4) + b"null", "does not know"),
        (result(MissBytes="1"), "does not know"),
        (result(FileCount=-1), "does not know"),
        (result(TotalBytes=True), "does not know"),
    ],
)
def test_whatever_else_it_answers_is_a_refusal(answer, why):
    """The versions before 1.2 end with one byte and say nothing of what came of it."""
    with pytest.raises(Refused, match=why):
        Decoder().feed(answer)


class Answers(Control):
    """A control file that holds its answer where JuiceFS puts it: behind what was written."""

    def __init__(self, root, answer, late=0):
        super().__init__(os.fsencode(root))
        self.place = os.path.join(self.root, b".control")
        self.answer, self.late = answer, late
        self.looks = 0

    def holds(self, action, inodes, threads):
        written = len(message(action, inodes, threads))
        with open(self.place, "wb") as file:
            file.write(bytes(written) + (b"" if self.late else self.answer))

    def alive(self, _):
        self.looks += 1
        if self.looks == self.late:
            with open(self.place, "ab") as file:
                file.write(self.answer)
        return self.looks < 100


def test_an_answer_is_waited_for(tmp_path):
    """The file gives nothing until there is one."""
    control = Answers(tmp_path, PROGRESS + result(), late=5)
    control.holds(Action.FILL, [1, 2], 3)
    assert control.ask(Action.FILL, [1, 2], 3, control.alive) == Answer(5, 8192, 100)
    assert control.looks == 5
    with open(control.place, "rb") as file:
        assert file.read().startswith(message(Action.FILL, [1, 2], 3))


def test_a_wait_can_be_ended(tmp_path):
    control = Answers(tmp_path, b"")
    control.holds(Action.FILL, [1], 1)
    assert control.ask(Action.FILL, [1], 1, control.alive) is None
    assert control.looks == 100


def test_a_mount_is_tried_with_a_question_that_does_nothing(tmp_path):
    """The versions that do not know how to check fill the cache with what they are asked about."""
    control = Answers(tmp_path, b"\x00")
    control.holds(Action.CHECK, [NO_INODE], 1)
    with pytest.raises(Refused, match="does not say"):
        control.probe()


@pytest.mark.parametrize("make", [lambda place: None, os.mkdir, lambda place: os.symlink("/dev/zero", place)])
def test_without_a_control_file_it_is_refused(tmp_path, make):
    """Also where something else has its name."""
    make(tmp_path / ".control")
    with pytest.raises(Refused):
        Control(os.fsencode(tmp_path)).ask(Action.FILL, [1], 1)


def test_volumes_are_found_in_the_mount_table_by_their_roots():
    """A part of one that is mounted elsewhere has no control file, and does not hide its root."""
    table = parse_mountinfo(
        b"30 1 0:40 /sub /part rw - fuse.juicefs JuiceFS:a rw\n"
        b"31 1 0:40 / /mnt/a\\040b rw - fuse.juicefs JuiceFS:a rw\n"
        b"32 1 0:40 / /again rw - fuse.juicefs JuiceFS:a rw\n"
        b"33 1 0:41 / /other rw - fuse.sshfs host rw\n"
    )
    found = controls(table)
    assert {device: control.root for device, control in found.items()} == {os.makedev(0, 40): b"/mnt/a b"}
