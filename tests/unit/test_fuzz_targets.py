"""The fuzz targets of tests/soak, for a moment each, so that they are known to work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.soak import fuzzing


@pytest.mark.parametrize("name", fuzzing.targets())
def test_a_fuzz_target_accepts_its_seeds_and_arbitrary_bytes(name):
    """Whatever it is given, it ends without an error."""
    module = fuzzing.load(name)
    fuzz = fuzzing.function(module)
    for seed in getattr(module, "SEEDS", []):
        fuzz(seed)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def arbitrary(data):
        fuzz(data)

    arbitrary()
