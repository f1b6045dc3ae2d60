"""Every configuration of the model of the broker's protocol, and every mutant of it, which must fail."""

import pytest

from tests.spin import check

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

TWO_MANAGERS = "MANAGERS=2 WORKERS=1"


@pytest.mark.parametrize("style", ["", "AZURE"])
@pytest.mark.parametrize("size", ["TROUBLES=2", f"{TWO_MANAGERS} TROUBLES=2"])
def test_nothing_is_lost_or_counted_twice(tmp_path, style, size):
    """Of a job that completes, each item is settled once; a job fails only if messages were stolen twice."""
    found = check(tmp_path, f"{style} {size}", liveness=False)
    print(f"{style} {size}: {found.states} states")
    assert (found.errors, found.complete) == (0, True), found.output


@pytest.mark.parametrize("style", ["", "AZURE"])
@pytest.mark.parametrize("size", ["TROUBLES=2", TWO_MANAGERS])
def test_every_job_ends(tmp_path, style, size):
    """Where each process that can go on does so at last."""
    found = check(tmp_path, f"{style} {size}", liveness=True)
    print(f"{style} {size}: {found.states} states")
    assert (found.errors, found.complete) == (0, True), found.output


@pytest.mark.parametrize(
    "defines",
    [
        "MUTANT_COUNTED_UNLEASED",
        "AZURE MUTANT_COUNTED_TWICE",
        "AZURE MUTANT_DELETED_FIRST TROUBLES=2",
        "AZURE MUTANT_TALLY_APART TROUBLES=2",
        f"AZURE MUTANT_SCANS_COUNT_AS_ONE {TWO_MANAGERS}",
        f"AZURE MUTANT_TOTALS_OF_ANY_SCAN {TWO_MANAGERS}",
        f"AZURE MUTANT_TWO_SHARE_A_SCAN {TWO_MANAGERS} TROUBLES=2",
        f"MUTANT_MANAGES_UNLEASED {TWO_MANAGERS} TROUBLES=2",
        f"AZURE MUTANT_FAILS_WITHOUT_A_LOOK {TWO_MANAGERS} TROUBLES=2",
    ],
)
def test_without_this_precaution_something_is_lost_or_counted_twice(tmp_path, defines):
    """Each mutant leaves one precaution out, and some assertion fails."""
    found = check(tmp_path, defines, liveness=False)
    assert "assertion violated" in found.output


@pytest.mark.parametrize(
    "defines",
    [
        "MUTANT_NO_REDELIVERY",
        "AZURE MUTANT_NO_REDELIVERY",
        "MUTANT_NO_POISON",
        "AZURE MUTANT_NO_POISON",
        "MUTANT_NO_SCAN_AGAIN",
        "AZURE MUTANT_NO_SCAN_AGAIN",
        f"AZURE MUTANT_WAITS_FOR_NOBODY {TWO_MANAGERS} TROUBLES=2",
        f"AZURE MUTANT_HELD_FOR_EVER MUTANT_WAITS_FOR_NOBODY {TWO_MANAGERS}",
    ],
)
def test_without_this_precaution_a_job_stays_for_ever(tmp_path, defines):
    """Each mutant leaves one precaution out, and some run never ends."""
    found = check(tmp_path, defines, liveness=True)
    assert "acceptance cycle" in found.output
