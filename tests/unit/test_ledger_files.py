"""A ledger's file: complete or not there, and in Parquet as in JSON Lines."""

import contextlib
import json
import os
import sys

import pytest

from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.ledger.files import check_writable, read, written
from cachewarmer.model.outcomes import FileOutcome

RECORDS = [
    FileOutcome("/data/a", 5, 1.25, 2.5, "read", 5, "", "c1", 0.25),
    FileOutcome("/data/b\udcff", 1 << 50, 0.0, 0.0, "failed", 0, "no lück", "", 0.0),
    FileOutcome("/data/ü", 7, 1.5, 1.5, "unchanged", 0, "", "", 0.0),
]


def test_a_ledger_takes_the_place_of_another_when_it_is_complete(tmp_path):
    """Whoever fails in between leaves the earlier one as it was, and nothing beside it; the permissions stay."""
    path = tmp_path / "ledger"
    path.write_text("earlier")
    path.chmod(0o640)
    with contextlib.suppress(KeyboardInterrupt), written(str(path)) as sink:
        sink.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "earlier"
    with written(str(path)) as sink:
        sink.write("".join(one.line() for one in RECORDS))
    assert list(read(str(path))) == RECORDS
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["ledger"]


def test_a_device_is_written_to_as_it_is():
    """It is not replaced by a file."""
    with written("/dev/null") as sink:
        sink.write(RECORDS[0].line())
    assert not os.path.isfile("/dev/null")


def test_parquet_holds_the_same_records(tmp_path):
    """Names of any bytes, in more rows than are written together."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    path = str(tmp_path / "ledger.parquet")
    many = RECORDS * 7000
    with written(path) as sink:
        for one in many:
            sink.write(one.line())
    assert list(read(path)) == many
    table = parquet.read_table(path)
    assert table.num_rows == len(many)
    assert table.column("path").slice(0, 3).to_pylist() == ["/data/a", "/data/b\\xff", "/data/ü"]
    assert table.column("path_bytes").slice(0, 2).to_pylist() == [None, b"/data/b\xff"]
    (tmp_path / "wrong.parquet").write_text(json.dumps({"path": "/a"}))
    with pytest.raises(UsageError, match="not a ledger"):
        list(read(str(tmp_path / "wrong.parquet")))


def test_without_pyarrow_one_line_says_so(tmp_path, monkeypatch):
    """Before anything is read."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CacheWarmerError, match=r"needs pyarrow.*pip install 'cachewarmer\[parquet\]'"):
        check_writable(str(tmp_path / "x.parquet"))
