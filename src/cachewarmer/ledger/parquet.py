"""A ledger as a Parquet file, through pyarrow where that is installed: one row a file, in the columns of a record.

A path that isn't UTF-8 can't be a string there: ``path`` then shows it with escapes, and ``path_bytes`` has it as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from cachewarmer.errors import UsageError
from cachewarmer.model.outcomes import FileOutcome, read_line
from cachewarmer.paths import printable, to_bytes, to_text

SUFFIX = ".parquet"
ROWS_AT_ONCE = 20_000
"""Held in memory, and written together."""
NUMBERS = {"size": int, "mtime": float, "ctime": float, "bytes": int, "seconds": float}


def is_parquet(name: str) -> bool:
    """Whether a ledger of that name is a Parquet file."""
    return name.lower().endswith(SUFFIX)


def load() -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as _  # noqa: F401  # pa.parquet
    except ImportError:
        raise UsageError(
            "a ledger in Parquet needs pyarrow, which is not installed",
            advice="pip install 'cachewarmer[parquet]', or give the file another ending than .parquet",
        ) from None
    return pa


def _schema(pa: Any) -> Any:
    kinds = {int: pa.int64(), float: pa.float64()}
    names = [name for name in FileOutcome._fields if name != "path"]
    fields = [(name, kinds[NUMBERS[name]] if name in NUMBERS else pa.string()) for name in names]
    return pa.schema([("path", pa.string()), *fields, ("path_bytes", pa.binary())])


class ParquetSink:
    """Takes the lines of a ledger, and writes them to ``file``; ``close`` writes what is left."""

    def __init__(self, file: Any) -> None:
        self._pa = load()
        self._schema = _schema(self._pa)
        self._writer = self._pa.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, text: str) -> None:
        """Takes whole lines."""
        for line in text.splitlines():
            self._rows.append(_row(json.loads(line)))
            if len(self._rows) == ROWS_AT_ONCE:
                self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Writes the end of the file."""
        if self._rows:
            self._flush()
        self._writer.close()


def _row(values: dict[str, Any]) -> dict[str, Any]:
    path: str = values["path"]
    values = {key: _utf8(value) if isinstance(value, str) else value for key, value in values.items()}
    values["path_bytes"] = None if values["path"] == path else to_bytes(path)
    return values


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return printable(text)
    return text


def read(name: str) -> Iterator[FileOutcome]:
    """The records of a Parquet file.

    Raises:
        UsageError: pyarrow is missing, or the file isn't a ledger. OSError: it can't be read.
    """
    pa = load()
    try:
        with pa.parquet.ParquetFile(name) as file:
            missing = {"path", "status"} - set(file.schema_arrow.names)
            if missing:
                raise UsageError("it is not a ledger", doing="reading the ledger", subject=os.fsencode(name))
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    yield read_line(json.dumps(_values(row)))
    except (pa.ArrowException, ValueError, TypeError) as error:
        problem = f"it is not a ledger: {str(error)[:100]}"
        raise UsageError(problem, doing="reading the ledger", subject=os.fsencode(name)) from error


def _values(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a record's JSON: columns of others are left out."""
    raw = row.get("path_bytes")
    values = {name: row.get(name) for name in FileOutcome._fields}
    return {**values, "path": to_text(raw)} if isinstance(raw, bytes) else values
