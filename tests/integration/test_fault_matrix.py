"""A part of the reader's fault matrix; all of it is in ``make soak``."""

import pytest

from cachewarmer.rpc import nfs3
from cachewarmer.testing import Trick
from tests import fault_matrix as matrix

TRICKS = (Trick.DROP_INSIDE, Trick.WRONG_XID, Trick.TWICE, Trick.TRUNCATED)


@pytest.mark.parametrize("kind", TRICKS)
@pytest.mark.parametrize("procedure", ["MNT", "LOOKUP", "READDIRPLUS", "READ"])
async def test_a_connection_that_goes_wrong_costs_no_file(procedure, kind):
    """The call is made again on another one; while a session is opened, it fails as its address would."""
    matrix.check_reaching(await matrix.run(procedure, matrix.trick(kind)), procedure)


@pytest.mark.parametrize("value", [nfs3.NOENT, nfs3.IO, nfs3.STALE, nfs3.JUKEBOX, 4242])
@pytest.mark.parametrize("procedure", ["GETATTR", "LOOKUP", "READDIRPLUS", "READ"])
async def test_a_status_is_the_error_of_one_name_or_of_none(procedure, value):
    """A stale handle and a server that asks to wait cost a further call; what is gone is left out."""
    matrix.check_status(await matrix.run(procedure, matrix.status(value)), procedure, value)


@pytest.mark.parametrize("procedure", ["GETATTR", "LOOKUP", "READDIRPLUS", "READ"])
async def test_handles_that_stay_stale_for_a_while_cost_no_file(procedure):
    """A fail-over: the entries of a listing are looked up anew, too, where the server left something out of it."""
    cell = await matrix.run(procedure, matrix.status(nfs3.STALE), times=4)
    assert cell.server.spoiled == 4
    assert cell.first.whole, cell.first


async def test_a_server_without_readdirplus_is_listed_by_readdir():
    """PROC_UNAVAIL is a server's word for all directories: it is asked once."""
    cell = await matrix.run("READDIRPLUS", matrix.refusal(3), times=matrix.ALWAYS)
    assert cell.server.spoiled == 1
    assert cell.first.whole, cell.first


async def test_a_page_without_its_end_flag_counts_and_the_listing_goes_on():
    cell = await matrix.run("READDIRPLUS", matrix.without_end)
    assert cell.server.spoiled == 1
    assert cell.first.whole, cell.first


async def test_a_listing_that_never_says_its_end_is_read_and_named():
    """What it lists is warm; that there is no more is not taken for granted."""
    cell = await matrix.run("READDIRPLUS", matrix.without_end, times=matrix.ALWAYS)
    assert cell.first.read == matrix.SIZES
    assert len(cell.first.raised) == 3
