"""docs/security.md claims nothing without a test, and the tests that it names are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs/security.md").read_text(), flags=re.MULTILINE)[1:]
NOT_PROMISED = "What is not guaranteed"
TABLES = {section.partition("\n")[0]: section for section in SECTIONS if not section.startswith(NOT_PROMISED)}
ROWS = [line for section in TABLES.values() for line in section.splitlines() if line.startswith("| ")]
CLAIMS = [line for line in ROWS if not line.startswith(("| what holds", "| ---"))]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_of(path):
    """The names of the test functions of a file."""
    found = ast.walk(ast.parse((ROOT / path).read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[2:50])
def test_a_claim_names_tests_that_exist(claim):
    """Whoever renames a test, or takes one away, sees what was promised with it."""
    said, tests = claim.strip("| ").split(" | ")
    assert said.endswith(".")
    named = TEST.findall(tests)
    assert named
    assert TEST.sub("", tests).strip(", ") == "", "only tests stand there"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in functions_of(path), f"{path}::{name}"


@pytest.mark.parametrize("title", TABLES)
def test_what_holds_stands_in_a_table(title):
    """A sentence outside of the tables would be one without a test; a section may begin with one that says what it is about."""
    _, *lines = TABLES[title].strip().splitlines()
    prose = [line for line in lines if line and not line.startswith("|")]
    assert any(line.startswith("| ") for line in lines)
    assert len(prose) <= 3
