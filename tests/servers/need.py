"""How a test asks for a real part that a machine may lack."""

from __future__ import annotations

import os


def need(condition: object, reason: str) -> None:
    """Skips the running test with ``reason`` unless ``condition``; fails it where real parts are required (CI)."""
    if condition:
        return
    import pytest  # the demonstration and the benchmarks start servers too, where pytest need not be

    if os.environ.get("CACHEWARMER_REQUIRE_REAL") == "1":
        pytest.fail(f"a real part is missing here: {reason}", pytrace=False)
    pytest.skip(reason)
