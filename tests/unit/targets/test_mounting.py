"""How mount(8) is run: a program of ours stands in its place, which notes what it was given."""

import asyncio
import os
from pathlib import Path

import pytest

from cachewarmer.config import MountSettings
from cachewarmer.errors import CacheWarmerError, MountError
from cachewarmer.targets.base import Mount
from cachewarmer.targets.mount import share, table
from cachewarmer.targets.mount.share import SharedMount


@pytest.fixture
def mounting(tmp_path, monkeypatch):
    """Acquires a mount of an export; ``script`` is what the program does, its arguments go to the file ``given``."""
    (tmp_path / "root").mkdir(mode=0o755)
    program = tmp_path / "mount"

    async def acquire(export, script, seconds=0.0):
        program.write_text(f'#!/bin/sh\nfor one; do printf "%s\\n" "$one"; done >>{tmp_path}/given\n{script}\n')
        program.chmod(0o755)
        settings = MountSettings(root=str(tmp_path / "root"), retry_seconds=seconds)
        await SharedMount(Mount(address="10.0.0.1", export=export), settings).acquire()

    monkeypatch.setattr(table, "require", lambda name: str(program))
    monkeypatch.setattr(share, "FIRST_DELAY_SECONDS", 0.05)
    return acquire


async def test_no_shell_and_no_option_of_mount_sees_what_a_job_names(mounting, tmp_path):
    """The export is one word behind ``--``, whatever it holds."""
    export = "/a; touch x $(id) -o exec"
    with pytest.raises(MountError, match="access denied"):
        await mounting(export, "echo 'mount.nfs: access denied by server' >&2; exit 32")
    given = (tmp_path / "given").read_text().splitlines()
    assert given[:3] == ["-t", "nfs", "-o"]
    assert given[4] == "--"
    assert given[5] == f"10.0.0.1:{export}"
    assert Path(given[6]).parent == tmp_path / "root" / "10.0.0.1"
    assert len(given) == 7


async def test_a_link_that_appears_between_two_tries_is_not_mounted_at(mounting, tmp_path):
    """The place is looked at again before each: the first try failed, and meanwhile somebody put a link there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    place = tmp_path / "root" / "10.0.0.1"
    script = f"rm -r {place} && ln -s {victim} {place}; echo 'mount.nfs: Connection timed out' >&2; exit 32"
    with pytest.raises(CacheWarmerError) as caught:
        await mounting("/data", script, seconds=30.0)
    assert "10.0.0.1" in str(caught.value)
    assert os.listdir(victim) == []
    assert (tmp_path / "given").read_text().count("--\n") == 1


async def test_what_a_server_puts_into_one_mount_leads_no_other_out_of_the_root(mounting, tmp_path):
    """``/a/b`` is being waited for when ``/a`` is mounted, in which ``b`` is a link: the two places never nest.

    The program puts what the server has at the place, as a mount would, and notes the contents where it was called.
    """
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "passwd").write_text("genuine")
    serve = f"""
for place; do :; done
case $6 in
*:/a/b) [ -e {tmp_path}/go ] || {{ echo 'mount.nfs: Connection timed out' >&2; exit 32; }}; echo hostile >"$place/passwd" ;;
*:/a) ln -s {victim} "$place/b" ;;
esac"""
    waiting = asyncio.create_task(mounting("/a/b", serve, seconds=30.0))
    while not (tmp_path / "given").exists():
        await asyncio.sleep(0.01)
    await mounting("/a", serve)
    (tmp_path / "go").touch()
    await asyncio.gather(waiting, return_exceptions=True)
    places = {Path(line) for line in (tmp_path / "given").read_text().splitlines() if line.startswith(str(tmp_path))}
    assert {place.parent for place in places} == {tmp_path / "root" / "10.0.0.1"}
    assert len(places) == 2
    assert (victim / "passwd").read_text() == "genuine"
