"""Settings: every one is checked, and every one is documented."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from cachewarmer import bounds
from cachewarmer.config import TABLES_WITHIN, load_settings
from cachewarmer.errors import ConfigError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import settings_reference as reference


@pytest.fixture
def loaded(tmp_path):
    """Loads settings from a text."""

    def load(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return load_settings({"CACHEWARMER_CONFIG": str(path)})

    return load


def every_setting():
    for table, group in reference.groups():
        for one in fields(group):
            if str(one.type) not in TABLES_WITHIN:
                yield table, group, one


@pytest.mark.parametrize(("table", "group", "one"), list(every_setting()), ids=lambda value: getattr(value, "name", ""))
def test_every_setting_is_documented_and_its_default_is_within_its_range(table, group, one):
    """A default that could not be written into the file would be a riddle."""
    assert reference.docs_of(group)[one.name]
    if one.default is not None:
        value = list(one.default) if isinstance(one.default, tuple) else one.default
        assert not bounds.problem_of(f"{table}.{one.name}", str(one.type), value)


def test_no_bound_is_given_for_a_setting_that_is_not_there():
    """What was renamed keeps its range."""
    known = {f"{table}.{one.name}" for table, _, one in every_setting()}
    assert {*bounds.LIMITS, *bounds.WORDS, *bounds.PATTERNS} <= known


def test_the_reference_is_up_to_date():
    """If this fails: python scripts/settings_reference.py"""
    assert reference.PAGE.read_text("utf-8") == reference.render()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nfs]\nwindow_calls = 0", r"\[nfs\] window_calls can't be 0: it must be from 1 to 65,536"),
        ("[nfs]\nwindow_calls = true", "must be a whole number"),
        ("[nfs]\nwindow_calls = 1.5", "must be a whole number"),
        ("[nfs]\nport = 65536", "must be from 0 to 65,535"),
        ("[nfs]\nconnect_seconds = 0", "0.01 to 3,600 seconds"),
        ("[nfs]\nreply_seconds = nan", "must be from"),
        ("[nfs]\nreply_seconds = inf", "must be from"),
        ("[nfs]\njukebox_seconds = -1", "must be from 0"),
        ("[nfs]\ngids = [1, -1]", "must be from 0"),
        ("[nfs]\ngids = ['a']", "must be a whole number"),
        ("[nfs]\ngids = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "at most 16"),
        ("[mount]\noptions = 'a b'", r"\[mount\] options .* options of mount\(8\)"),
        ("[mount]\noptions = '-o'", "options of mount"),
        ("[mount]\nvers = '3;x'", "NFS version"),
        ("[fleet]\nkind = 'cloud'", "one of none, local, slurm, vmss"),
        ("[fleet.vmss]\nmax_price = -2", "must be from -1"),
        ("[targets]\nallow_transports = ['smb']", "one of nfs, mount"),
        ("[targets]\nallow_local = 'x'", "must be a list of texts"),
        ("[targets]\nallow_exports = ['data']", "absolute paths"),
        ("[plan]\nitem_files = 0", "must be from 1"),
        ("[lease]\nlease_seconds = '60'", "must be a number"),
        ("[cloud]\nx = 1", r"no such table \[cloud\]"),
        ("[nfs]\nwindow = 1", "no setting 'window'"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(loaded, text, said):
    """At the start, with the name of the setting: not when it is first used."""
    with pytest.raises(ConfigError, match=said):
        loaded(text)


def test_values_within_their_range_are_taken(loaded):
    """Lists as tuples, whole numbers for seconds."""
    settings = loaded(
        "[nfs]\nwindow_calls = 64\nreply_seconds = 5\ngids = [1, 2]\n"
        "[mount]\noptions = 'ro, noatime,rsize=1048576,'\nvers = '4.2'\n"
        "[targets]\nallow_addresses = ['10.0.0.0/8', 'cache1']\nallow_exports = ['/data']\n"
        "[lease]\npatience_seconds = 0\n[fleet.vmss]\nmax_price = 0.5\n"
    )
    assert (settings.nfs.window_calls, settings.nfs.reply_seconds, settings.nfs.gids) == (64, 5, (1, 2))
    assert settings.mount.options == "ro, noatime,rsize=1048576,"
    assert settings.targets.allow_addresses == ("10.0.0.0/8", "cache1")


def test_mount_options_are_checked_in_linear_time(loaded):
    """Whatever a file holds."""
    with pytest.raises(ConfigError):
        loaded("[mount]\noptions = '" + "a," * 50_000 + " ;'")
