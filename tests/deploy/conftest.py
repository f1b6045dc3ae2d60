"""What the tests of the deployment share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def built_program(request):
    """The single-file program, for the modules that use it: built outside any test's time, with its interpreter."""
    build = getattr(request.module, "bundle", None)
    if build is not None:
        build()
