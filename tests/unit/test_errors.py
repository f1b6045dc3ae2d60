"""Errors keep their parts, in memory and in records."""

import errno
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import (
    MAX_FAILURE_BYTES,
    CacheWarmerError,
    ConnectionLost,
    Failure,
    FileVanished,
    NfsStatusError,
    OwnResourceError,
    StaleHandle,
    TransportError,
    own_resource_error,
)

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


def test_the_line_names_each_part_once_and_in_order():
    """Address, what was done, to what, the problem, and the advice."""
    error = CacheWarmerError("it is down", doing="READ", subject=b"/a\xff", address="fd00::1", advice="wait")
    assert str(error) == "fd00::1: READ /a\\xff: it is down; wait"
    assert str(CacheWarmerError("alone")) == "alone"


def test_only_missing_parts_are_filled_in():
    """What the place of the error said counts more than what its callers add."""
    error = ConnectionLost("reset", address="cache1")
    assert error.fill(address="cache2", doing="READ", subject=b"/f") is error
    assert (error.address, error.doing, error.subject) == ("cache1", "READ", b"/f")


def test_an_nfs_status_keeps_its_numbers_and_its_raw_path():
    """Retry code looks at them, and never at the text."""
    error = StaleHandle(70, "READ", b"/d/\xff", "stale file handle", address="cache1")
    assert (error.status, error.procedure, error.path) == (70, "READ", b"/d/\xff")
    assert str(error) == "cache1: READ /d/\\xff: stale file handle"
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.path, again.address, str(again)) == (70, error.path, "cache1", str(error))
    vanished = FileVanished.like(NfsStatusError(2, "LOOKUP", b"/x", "no such file"))
    assert str(vanished) == "LOOKUP /x: no such file"


@given(problem=TEXTS.filter(bool), doing=TEXTS, subject=st.binary(max_size=40), address=TEXTS, advice=TEXTS)
def test_a_recorded_failure_comes_back_whole(problem, doing, subject, address, advice):
    """In ASCII, so that it survives any store."""
    error = CacheWarmerError(problem, doing=doing, subject=subject, address=address, advice=advice)
    text = error.failure.dump()
    assert text.isascii()
    assert Failure.load(text) == error.failure
    assert str(CacheWarmerError.from_failure(Failure.load(text))) == str(error)


@pytest.mark.parametrize("text", ["", "plain words", "{not json", '{"other": 1}', "{" * 100_000, '{"problem": 7}'])
def test_a_record_of_an_earlier_version_is_read_as_it_is(text):
    """It kept one line of text."""
    assert Failure.load(text) == Failure(problem=text)


def test_a_recorded_failure_fits_every_store():
    """However long its parts are."""
    error = CacheWarmerError("p" * 10_000, subject=b"\xff" * 10_000)
    assert len(error.failure.dump()) <= MAX_FAILURE_BYTES


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN])
def test_what_this_process_has_run_out_of_is_nobody_elses_fault(number):
    """It is transient, and an error of reaching the address, so that no file is charged with it."""
    error = own_resource_error(OSError(number, "no more"), doing="connecting", address="cache1")
    assert isinstance(error, OwnResourceError)
    assert isinstance(error, TransportError)
    assert error.transient
    assert str(error).startswith("cache1: connecting: no more")
    assert error.__cause__ is not None


def test_memory_and_threads_run_out_too():
    """Neither of them is an ``OSError``."""
    assert own_resource_error(MemoryError()) is not None
    assert own_resource_error(RuntimeError("can't start new thread")) is not None
    assert own_resource_error(RuntimeError("something else")) is None
    assert own_resource_error(OSError(errno.ECONNREFUSED, "refused")) is None
