"""What the images of nodes are made with leaves nothing behind, and removes nothing that is not its own."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.deploy.node_image import remove_tree, unmount_below
from tests.servers.need import need


@pytest.fixture(autouse=True)
def tools():
    need(os.geteuid() == 0 and shutil.which("mount"), "mounting needs root")


def test_what_is_still_mounted_in_an_unfinished_tree_is_not_removed_with_it(tmp_path):
    """One mount in another, and a name that the kernel writes with escapes."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "kept").write_text("x")
    tree = tmp_path / "a tree.unfinished"
    place = tree / "proc"
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", outside, place], check=True)
    subprocess.run(["mount", "--bind", outside, place / "sub"], check=True)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").read_text() == "x"
    assert os.listdir(outside / "sub") == []


def test_what_is_in_use_stays_mounted_and_is_an_error(tmp_path):
    """Rather that than to remove what is in it."""
    place = tmp_path / "tree" / "proc"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        with (place / "open").open("w"), pytest.raises(RuntimeError, match="umount"):
            remove_tree(tmp_path / "tree")
        assert (place / "open").exists()
    finally:
        unmount_below(tmp_path / "tree")
