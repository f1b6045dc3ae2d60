"""The reader's fault matrix: each procedure × each wrong thing that may come instead of a reply, each status included."""

import pytest

from cachewarmer.testing import Trick
from tests import fault_matrix as matrix

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("kind", Trick)
@pytest.mark.parametrize("procedure", matrix.PROCEDURES)
async def test_a_connection_that_goes_wrong_costs_no_file(procedure, kind):
    """Dropped, hung, twice, garbage, cut short, under a wrong xid: nothing is lost, nothing hangs."""
    matrix.check_reaching(await matrix.run(procedure, matrix.trick(kind)), procedure)


@pytest.mark.parametrize("value", matrix.STATUSES)
@pytest.mark.parametrize("procedure", [one for one in matrix.PROCEDURES if one not in ("NULL", "EXPORT")])
async def test_a_status_is_the_error_of_one_name_or_of_none(procedure, value):
    matrix.check_status(await matrix.run(procedure, matrix.status(value)), procedure, value)


@pytest.mark.parametrize("value", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("procedure", matrix.PROCEDURES)
async def test_a_call_that_is_not_accepted_is_one_error(procedure, value):
    """``accept_stat``, the versions left out."""
    matrix.check(await matrix.run(procedure, matrix.refusal(value)), procedure)


@pytest.mark.parametrize("value", [1, 2, 3, 4, 5, 6, 7, 99])
@pytest.mark.parametrize("procedure", matrix.PROCEDURES)
async def test_a_call_that_is_denied_is_one_error(procedure, value):
    """``auth_stat``."""
    matrix.check(await matrix.run(procedure, matrix.denial(value)), procedure)
