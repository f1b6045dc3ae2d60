"""The signals that ask a command to stop."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import asyncio, os, signal
    from cachewarmer.cli.options.general import Output
    from cachewarmer.cli.running import run

    async def tell(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        heard = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, heard.set)
        await heard.wait()

    async def body(stop):
        {body}
        return 7

    raise SystemExit(run(body, Output(), service=True))
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("await tell(stop); assert stop.is_set()", 7),
        ("await tell(stop); await tell(stop); await asyncio.sleep(60)", 130),
        ("stop.set(); await tell(stop)", 7),
        ("stop.set(); await tell(stop); await tell(stop); await asyncio.sleep(60)", 130),
    ],
)
def test_the_second_signal_ends_a_program_at_once_and_the_first_never_does(body, code):
    """Also where it is stopping already for another reason, such as the end of its input: it still hands back what it holds."""
    program = textwrap.dedent(PROGRAM).format(body=body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
