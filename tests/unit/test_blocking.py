"""Blocking calls beside the loop."""

import asyncio
import subprocess
import sys
import threading

import pytest

from cachewarmer import blocking
from cachewarmer.blocking import in_daemon_thread
from cachewarmer.errors import OwnResourceError


async def test_results_and_errors_come_back():
    """What the call returns or raises is what the caller gets."""
    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)


async def test_a_machine_without_a_further_thread_is_told(monkeypatch):
    """It is what this process lacks, and no fault of what was asked for."""

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OwnResourceError, match="no further thread"):
        await in_daemon_thread(lambda: 7)


async def test_a_caller_that_was_cancelled_is_not_told():
    """The call ends later, and nothing comes of it."""
    go = threading.Event()
    waiting = asyncio.create_task(in_daemon_thread(go.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await in_daemon_thread(lambda: "still works") == "still works"


def test_the_program_ends_though_a_call_still_blocks():
    """Nobody joins the thread: not the loop, not the interpreter."""
    program = """
import asyncio, threading
from cachewarmer import blocking
from cachewarmer.blocking import in_daemon_thread
async def main():
    waiting = asyncio.create_task(in_daemon_thread(threading.Event().wait))
    await asyncio.sleep(0.05)
    waiting.cancel()
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=20).returncode == 0


async def test_no_thread_is_started_that_would_have_next_to_no_memory(monkeypatch):
    """Python would try for ever to raise an error in it, and let no other thread run."""
    monkeypatch.setattr(blocking, "memory_left", lambda: blocking.LEAST_THREAD_BYTES - 1)
    with pytest.raises(OwnResourceError, match="out of memory"):
        await in_daemon_thread(lambda: 7)
    monkeypatch.setattr(blocking, "memory_left", lambda: blocking.LEAST_THREAD_BYTES)
    assert await in_daemon_thread(lambda: 7) == 7


def test_where_memory_is_limited_stacks_are_small_and_a_process_with_too_little_does_not_begin(monkeypatch):
    """It says how much it needs. Without a limit nothing is changed."""
    monkeypatch.setattr(blocking, "most_memory", lambda: None)
    before = threading.stack_size()
    blocking.prepare()
    assert threading.stack_size() == before
    monkeypatch.setattr(blocking, "most_memory", lambda: 100 << 20)
    try:
        monkeypatch.setattr(blocking, "memory_left", lambda: blocking.LEAST_BYTES)
        blocking.prepare()
        assert threading.stack_size() == blocking.STACK_BYTES
        monkeypatch.setattr(blocking, "memory_left", lambda: blocking.LEAST_BYTES - 1)
        with pytest.raises(OwnResourceError, match=r"may use 100 MiB .*at least 101 MiB are needed"):
            blocking.prepare()
    finally:
        threading.stack_size(before)
