"""The table service (Table service REST API), as far as the broker and its tests use it."""

from __future__ import annotations

import itertools
import json
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.storage_standin.parts import Answer, RefusedError, Request

MOST_ROWS = 1000
"""In the answer to a query (REST reference, Query Timeout and Pagination)."""
Entity = dict[str, Any]
END = "\U0010ffff"
"""Behind every key."""
KEYS = re.compile(r"(\w+)\(PartitionKey='((?:[^']|'')*)',\s*RowKey='((?:[^']|'')*)'\)")


class Rows:
    """The rows of one partition, by the first two letters of their keys: who asks for one kind passes no other."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Entity]] = {}
        self._sorted: dict[str, list[str]] = {}

    def get(self, key: str) -> Entity | None:
        return self._kinds.get(key[:2], {}).get(key)

    def put(self, key: str, entity: Entity | None) -> None:
        rows = self._kinds.setdefault(key[:2], {})
        if entity is None or key not in rows:
            self._sorted.pop(key[:2], None)
        if entity is None:
            rows.pop(key, None)
        else:
            rows[key] = entity

    def between(self, low: str, high: str) -> Iterator[Entity]:
        """In the order of their keys, from ``low`` on and below ``high``."""
        for kind in sorted(self._kinds):
            if not low[:2] <= kind <= high[:2]:
                continue
            rows = self._kinds[kind]
            if kind not in self._sorted:
                self._sorted[kind] = sorted(rows)
            keys = self._sorted[kind]
            for place in range(bisect_left(keys, low), len(keys)):
                if keys[place] >= high:
                    break
                yield rows[keys[place]]


class Tables:
    """The table service of the account."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Rows]] = {}
        self.rows_given = 0
        self._numbers = itertools.count()

    def serve(self, request: Request) -> tuple[str, Answer]:
        """The name of the operation, and its answer."""
        path = unquote(request.path).lstrip("/")
        if path == "$batch":
            return "Entity Group Transaction", self._batch(request)
        if path == "Tables":
            name = json.loads(request.body)["TableName"]
            if name in self.tables:
                raise RefusedError(409, "TableAlreadyExists")
            self.tables[name] = {}
            return "Create Table", _json({"TableName": name}, 201)
        if request.method == "GET" and path.endswith("()"):
            return "Query Entities", self._query(path[:-2], request.query)
        if request.method == "GET":
            entity = self._found(*_keys(path))
            return "Get Entity", _json(
                _selected(entity, request.query.get("$select")), headers={"etag": entity["odata.etag"]}
            )
        change, etag = self._change(request.method, path, request.headers, request.body)
        change()
        return {"POST": "Insert Entity", "DELETE": "Delete Entity"}.get(request.method, "Update Entity"), Answer(
            204, headers={"etag": etag}
        )

    def _partition(self, table: str, partition: str) -> Rows:
        if table not in self.tables:
            raise RefusedError(404, "TableNotFound")
        return self.tables[table].setdefault(partition, Rows())

    def _found(self, table: str, partition: str, row: str) -> Entity:
        entity = self._partition(table, partition).get(row)
        if entity is None:
            raise RefusedError(404, "ResourceNotFound")
        return entity

    def _change(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Callable[[], None], str]:
        """What a change would do, once it is known that it may be done; and the etag of the row afterwards."""
        new = json.loads(body) if body else {}
        if method == "POST":
            table, partition, row = path, new["PartitionKey"], new["RowKey"]
        else:
            table, partition, row = _keys(path)
        rows = self._partition(table, partition)
        before = rows.get(row)
        if method == "POST" and before is not None:
            raise RefusedError(409, "EntityAlreadyExists")
        condition = headers.get("if-match")
        if condition is not None and before is None:
            raise RefusedError(404, "ResourceNotFound")
        if condition not in (None, "*") and before is not None and before["odata.etag"] != condition:
            raise RefusedError(412, "UpdateConditionNotSatisfied")
        if method == "DELETE":
            return lambda: rows.put(row, None), ""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e7):07}Z"
        etag = f"W/\"datetime'{stamp}.{next(self._numbers)}'\""
        kept = before if before is not None and method in ("PATCH", "MERGE") else {}
        entity = {**kept, **new, "PartitionKey": partition, "RowKey": row, "Timestamp": stamp, "odata.etag": etag}
        return lambda: rows.put(row, entity), etag

    def _query(self, table: str, query: dict[str, str]) -> Answer:
        condition = query.get("$filter", "")
        partition = re.search(r"PartitionKey eq '((?:[^']|'')*)'", condition)
        if table not in self.tables:
            raise RefusedError(404, "TableNotFound")
        if partition is None:  # for people who look; it walks through all
            return _json({"value": [one for rows in self.tables[table].values() for one in rows.between("", END)]})
        rows = self._partition(table, partition[1].replace("''", "'"))
        low, high = "", END
        if " or " not in condition:
            low = max(re.findall(r"RowKey g[et] '((?:[^']|'')*)'", condition), default=low)
            high = min(re.findall(r"RowKey l[et] '((?:[^']|'')*)'", condition), default=high)
        low = max(low, query.get("NextRowKey", ""))
        chosen = _condition(condition)
        most = min(MOST_ROWS, int(query.get("$top", MOST_ROWS)))
        found = list(itertools.islice((one for one in rows.between(low, high) if chosen(one)), most + 1))
        self.rows_given += len(found)
        headers = {}
        if len(found) > most:
            last = found.pop()
            headers = {
                "x-ms-continuation-NextPartitionKey": last["PartitionKey"],
                "x-ms-continuation-NextRowKey": last["RowKey"],
            }
        return _json({"value": [_selected(one, query.get("$select")) for one in found]}, headers=headers)

    def _batch(self, request: Request) -> Answer:
        """All of its changes, or none."""
        changes, answers = [], []
        try:
            for part in _parts(request):
                change, etag = self._change(*part)
                changes.append(change)
                answers.append(f"HTTP/1.1 204 No Content\r\nETag: {etag}\r\n\r\n\r\n")
        except RefusedError as error:
            body = error.json(f"{len(changes)}:refused").decode()
            answers = [f"HTTP/1.1 {error.status} No\r\nContent-Type: application/json\r\n\r\n{body}\r\n"]
            changes = []
        for change in changes:
            change()
        inside = "".join(
            f"--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{one}"
            for one in answers
        )
        body = (
            "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n"
            f"{inside}--changesetresponse_1--\r\n--batchresponse_1--\r\n"
        )
        return Answer(202, body.encode(), {"content-type": "multipart/mixed; boundary=batchresponse_1"})


def _parts(request: Request) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Method, path, headers and body of each change in a transaction."""
    for part in re.split(rb"--changeset_[^\r\n]+", request.body)[1:]:
        found = re.search(rb"\r?\n\r?\n(\w+) (\S+) HTTP/1\.1\r?\n(.*?)\r?\n\r?\n(.*)", part, re.DOTALL)
        if found is None:
            continue  # what follows the last one
        method, url, lines, body = found.groups()
        named = (line.split(": ", 1) for line in lines.decode().splitlines() if ": " in line)
        headers = {name.lower(): value for name, value in named}
        yield method.decode(), unquote(urlsplit(url.decode()).path).split("/", 2)[2], headers, body.strip()


def _keys(path: str) -> tuple[str, str, str]:
    found = KEYS.fullmatch(path)
    if found is None:
        raise RefusedError(400, "InvalidInput")
    return found[1], found[2].replace("''", "'"), found[3].replace("''", "'")


def _selected(entity: Entity, names: str | None) -> Entity:
    if not names:
        return entity
    wanted = {one.strip() for one in names.split(",")}
    return {name: value for name, value in entity.items() if name.split("@")[0] in wanted or name == "odata.etag"}


def _condition(text: str) -> Callable[[Entity], bool]:
    """A filter of comparisons with ``and``, ``or`` and brackets (REST reference, Querying Tables and Entities)."""
    tokens = re.findall(r"\(|\)|datetime'[^']*'|'(?:[^']|'')*'|[\w.-]+", text)
    place = 0

    def next_token() -> str:
        nonlocal place
        place += 1
        return tokens[place - 1]

    def either() -> Callable[[Entity], bool]:
        found = [both()]
        while place < len(tokens) and tokens[place] == "or":
            next_token()
            found.append(both())
        return found[0] if len(found) == 1 else lambda entity: any(one(entity) for one in found)

    def both() -> Callable[[Entity], bool]:
        found = [one()]
        while place < len(tokens) and tokens[place] == "and":
            next_token()
            found.append(one())
        return found[0] if len(found) == 1 else lambda entity: all(one(entity) for one in found)

    def one() -> Callable[[Entity], bool]:
        token = next_token()
        if token == "(":
            inner = either()
            next_token()
            return inner
        operator, literal = COMPARISONS[next_token()], _literal(next_token())
        return lambda entity: token in entity and operator(entity[token], literal)

    return either() if tokens else lambda entity: True


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda one, two: one == two,
    "ne": lambda one, two: one != two,
    "gt": lambda one, two: one > two,
    "ge": lambda one, two: one >= two,
    "lt": lambda one, two: one < two,
    "le": lambda one, two: one <= two,
}


def _literal(token: str) -> Any:
    if token.startswith("datetime'"):
        return token[9:-1]
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    return json.loads(token)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    kind = {"content-type": "application/json;odata=minimalmetadata"}
    return Answer(status, json.dumps(value).encode(), kind | (headers or {}))
