"""Every fuzz target for its share of SOAK_SECONDS (600 in all)."""

import os
import subprocess
import sys

import pytest

from tests.soak import fuzzing

SECONDS = int(os.environ.get("SOAK_SECONDS", "600"))


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("name", fuzzing.targets())
def test_no_input_is_found_that_a_target_does_not_expect(name, tmp_path):
    """atheris looks for inputs that reach new code; none of them may raise, hang or take a gigabyte."""
    pytest.importorskip("atheris")
    share = max(1, SECONDS // len(fuzzing.targets()))
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.fuzzing", name, str(share), str(tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    print("\n".join(line for line in done.stderr.splitlines() if "number_of_executed_units" in line))
    assert done.returncode == 0, done.stderr[-5000:]
