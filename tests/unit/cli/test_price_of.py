"""What a machine of a fleet costs by a price table."""

import pytest

from cachewarmer.cli import commands
from cachewarmer.cli.page import price_of
from cachewarmer.errors import ConfigError, UsageError

TABLE = 'source = "a list"\ndate = 2026-01-31\ncurrency = "EUR"\nmachine_hour = 0.4\nworkers_per_machine = 4\n'


@pytest.mark.parametrize(("kind", "hour"), [("vmss", 0.4), ("local", 0.1), ("slurm", 0.1)])
def test_a_worker_of_its_own_costs_its_part_of_a_machine(tmp_path, kind, hour):
    """A machine of a scale set is a whole one."""
    (tmp_path / "prices.toml").write_text(TABLE)
    price = price_of(str(tmp_path / "prices.toml"), kind)
    assert (price.hour, price.currency, price.source) == (hour, "EUR", "a list, 2026-01-31")


def test_a_table_that_can_not_be_read_is_an_error(tmp_path):
    """Before the manager begins."""
    with pytest.raises(ConfigError, match="price table"):
        price_of(str(tmp_path / "none"), "local")


def test_no_table_is_no_price():
    """And no cost is shown."""
    assert price_of("", "vmss") is None


def test_prices_without_a_page_are_refused():
    """Nobody would see the cost."""
    chosen = commands.build_parser(["manager"]).parse_args(["manager", "--prices", "x"])
    with pytest.raises(UsageError, match="--prices needs --http"):
        chosen.command.parse(chosen)
