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


MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def imports_of(name: str) -> set[str]:
    """The modules of ours that one imports when it is loaded, or for its types alone; later imports may go round."""
    found: set[str] = set()
    statements: list[ast.stmt] = list(ast.parse(MODULES[name].read_text("utf-8")).body)
    for statement in statements:
        if isinstance(statement, ast.If | ast.Try):
            statements += statement.body
        elif isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            inner = {f"{statement.module}.{alias.name}" for alias in statement.names}
            found |= {one if one in MODULES else statement.module for one in inner}
    return {one for one in found if one in MODULES and one not in (name, "cachewarmer")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not for their types either. (The package itself has nothing but its version for them.)"""
    left = {name: imports_of(name) for name in MODULES}
    while leaves := [name for name, needs in left.items() if not needs]:
        for leaf in leaves:
            del left[leaf]
        for needs in left.values():
            needs.difference_update(leaves)
    assert set(left) == set(), "these modules, or what they import, go round in a circle"
