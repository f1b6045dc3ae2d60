"""A broker URL chooses the broker; what makes no sense is said in one line."""

from __future__ import annotations

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import UsageError


def test_a_file_is_sqlite(tmp_path):
    """Three slashes and a path; a default URL, which joins with four, means the same file."""
    for url in (f"sqlite://{tmp_path}/b.db", f"sqlite:///{tmp_path}/b.db"):
        assert open_broker(url, LeaseSettings()).path == f"{tmp_path}/b.db"


def test_an_account_is_azure():
    """Nothing is asked of the network before it is opened."""
    broker = open_broker("azure://farmaccount/shot-42", LeaseSettings())
    assert broker.url == "azure://farmaccount/shot-42"


@pytest.mark.parametrize(
    "url",
    ["", "x", "redis://host", "sqlite://", "sqlite:///", "sqlite:b.db", "azure://", "azure://UPPER/x", "azure://ab/x"],
)
def test_anything_else_is_a_usage_error(url):
    """The line names the forms there are, or what is wrong."""
    with pytest.raises(UsageError) as caught:
        open_broker(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "-x", "Upper", "a--b", "a_b", "é", "x" * 58])
def test_a_bad_prefix_is_refused_with_the_rule(prefix):
    """Azure's rule for queue names stands in the error."""
    with pytest.raises(UsageError, match=r"lower-case letters, digits and single hyphens"):
        open_broker(f"azure://farmaccount/{prefix}")
