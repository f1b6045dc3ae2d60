"""What each room may know of: no name of Azure's outside the rooms that are about it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cachewarmer

SOURCE = Path(cachewarmer.__file__).parent
ABOUT_AZURE = ("azure/", "broker/azure/", "fleet/vmss/", "cli/dropin/")
TABLES = {
    "broker/__init__.py": {"azure", "cachewarmer.broker.azure"},
    "doctor/around.py": {"azure"},
    "config/settings.py": {"azureuser"},
    "config/environment.py": {"AZURE_"},
    "cli/worker.py": {"cachewarmer.fleet.vmss.notices"},
}
"""Where a table, or an import that waits until it is needed, names a room; a setting's default, and whose variables
workers on other machines get."""


def names_in(tree: ast.AST) -> set[str]:
    """Identifiers, imported modules, and strings that a program compares or looks up: those without a space in them."""
    found: set[str] = set()
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            found |= set() if any(letter.isspace() for letter in node.value) else {node.value}
    return {name for name in found if "azure" in name.lower()}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_rooms_about_azure_name_it(path):
    """Texts for people may; code outside asks what a broker or a fleet can do, not what it is."""
    place = str(path.relative_to(SOURCE))
    if not place.startswith(ABOUT_AZURE):
        assert names_in(ast.parse(path.read_text("utf-8"))) <= TABLES.get(place, set())
