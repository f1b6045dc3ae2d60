"""Who a process is to the NFS server: the settings file says, else the environment of the service, else nobody else."""

import pytest

from cachewarmer.config import NfsSettings, load_settings, wire_environment
from cachewarmer.errors import ConfigError
from cachewarmer.targets.base import Mount
from cachewarmer.targets.nfs3.session import with_ids

ROOT = {"CACHEWARMER_NFS_UID": "0", "CACHEWARMER_NFS_GID": "0"}


def loaded(tmp_path, text, environment):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load_settings({"CACHEWARMER_CONFIG": str(path), **environment}).nfs


def ids(settings):
    return settings.uid, settings.gid, settings.gids


def test_nobody_is_named_unless_somebody_names_one():
    """A process reads as the user who runs it."""
    assert ids(load_settings({}).nfs) == (None, None, ())


def test_a_service_is_told_by_its_environment():
    """Whether or not it has a settings file."""
    assert ids(load_settings({**ROOT, "CACHEWARMER_NFS_GIDS": "7, 8"}).nfs) == (0, 0, (7, 8))


def test_what_the_file_says_counts_more_than_the_environment(tmp_path):
    """The installation lays down the one; an operator writes the other."""
    assert ids(loaded(tmp_path, "[nfs]\nuid = 1000\n", ROOT)) == (1000, 0, ())
    assert ids(loaded(tmp_path, "[nfs]\ngids = [5, 6]\n[plan]\nitem_files = 3\n", ROOT)) == (0, 0, (5, 6))
    assert ids(loaded(tmp_path, "", ROOT)) == (0, 0, ())


@pytest.mark.parametrize("text", ["root", "-1", "4294967296", "1,2"])
def test_a_number_that_is_none_is_refused_by_its_variable(text):
    """Before anything is read as somebody else."""
    with pytest.raises(ConfigError, match="CACHEWARMER_NFS_UID is"):
        load_settings({"CACHEWARMER_NFS_UID": text})


@pytest.mark.parametrize("text", ["uid = -1", 'uid = "0"', "gids = 5", 'gids = ["a"]', "gids = [-1]", "uid = true"])
def test_a_setting_of_the_wrong_type_is_refused(tmp_path, text):
    """As any setting is."""
    with pytest.raises(ConfigError, match=r"\[nfs\] g?u?ids? can't be"):
        loaded(tmp_path, f"[nfs]\n{text}\n", {})


def test_what_a_process_was_told_can_be_told_to_others():
    """A manager's workers are to be who the manager is."""
    settings = NfsSettings(uid=0, gid=5, gids=(6, 7))
    assert ids(load_settings(wire_environment(settings)).nfs) == ids(settings)
    assert wire_environment(NfsSettings()) == {}


def test_a_job_that_names_a_user_is_read_as_that_user():
    """The settings are for those that name none."""
    settings = NfsSettings(uid=0, gid=0, gids=(9,))
    named = Mount(address="a", export="/e", path=b"/e", uid=1000, gid=1000)
    assert with_ids(named, settings) == named
    plain = Mount(address="a", export="/e", path=b"/e")
    assert ids(with_ids(plain, settings)) == (0, 0, (9,))
    assert with_ids(plain, NfsSettings()) == plain
