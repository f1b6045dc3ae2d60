"""Where ``warm`` keeps its job when the user's own directory can't be used."""

import os
import tempfile
from pathlib import Path

import pytest

from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.state import State
from cachewarmer.errors import CacheWarmerError


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CACHEWARMER_BROKER", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177])
def test_the_users_own_directory_is_used_where_it_can_be(monkeypatch, tmp_path, capsys, request, umask):
    before = os.umask(umask)
    request.addfinalizer(lambda: os.umask(before))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    state = State(BrokerChoice())
    assert (state.url, state.temporary) == (f"sqlite:///{tmp_path}/state/cachewarmer/cachewarmer.db", None)
    state.close(keep=False)
    assert (tmp_path / "state" / "cachewarmer").is_dir()
    assert all((tmp_path / one).stat().st_mode & 0o777 == 0o700 for one in ("state", "state/cachewarmer"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("named", ["option", "environment"])
def test_a_broker_that_is_named_is_used(monkeypatch, named):
    """Whatever state the user's directory is in."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no")
    if named == "environment":
        monkeypatch.setenv("CACHEWARMER_BROKER", "sqlite:////x/y")
    assert State(BrokerChoice(url="sqlite:////x/y" if named == "option" else "")).url == "sqlite:////x/y"


def test_a_directory_that_is_named_is_used_or_is_an_error(monkeypatch, tmp_path, capsys):
    """Whoever names a place wants the job there: it does not go elsewhere."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no")
    with pytest.raises(
        CacheWarmerError, match=r"^no place to keep the state of the job: /proc/no/cachewarmer: .*XDG_STATE_HOME"
    ):
        State(BrokerChoice())
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("problem", ["unwritable", "no home"])
def test_else_a_temporary_one_is_used_and_said(monkeypatch, tmp_path, capsys, problem):
    """And removed when the job is done; a job that is not done stays there to be resumed."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/proc/no")
    if problem == "no home":
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    done, unfinished = State(BrokerChoice()), State(BrokerChoice())
    assert done.url == f"sqlite:///{done.temporary}/cachewarmer.db"
    assert Path(done.temporary).parent == tmp_path
    assert os.stat(done.temporary).st_mode & 0o777 == 0o700
    said = capsys.readouterr().err
    assert str(done.temporary) in said
    assert "no home directory" in said or "/proc/no" in said
    done.close(keep=False)
    unfinished.close(keep=True)
    assert [Path(one.temporary).is_dir() for one in (done, unfinished)] == [False, True]


def test_without_any_place_it_is_one_error_with_advice(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/proc/no")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/neither")
    with pytest.raises(CacheWarmerError, match="TMPDIR"):
        State(BrokerChoice())
