"""The schemas of Terraform's providers, read from the bindings that are generated from them and published on npm.

The bindings hold, for every resource and data source, each argument's name and type, whether it is needed, and what
nested blocks there are. What they leave out is left out here too: deprecations, and which values are allowed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers.need import need
from tests.servers.ports import cache_directory, locked


@dataclass(frozen=True)
class Published:
    """One provider's bindings."""

    name: str
    package: str
    version: str
    provider_version: str
    """Of the provider that this package was generated from; it stands in the package too, and is compared."""


AZURERM = Published("azurerm", "@cdktn/provider-azurerm", "16.1.0", "4.73.0")
GOOGLE = Published("google", "@cdktf/provider-google", "16.12.1", "6.50.0")
PROVIDERS = (AZURERM, GOOGLE)

Schema = dict[str, Any]
"""A block as ``terraform providers schema -json`` writes it: ``attributes`` and ``block_types``."""

SIMPLE = {
    "string": "string",
    "boolean": "bool",
    "number": "number",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "stringMap": ["map", "string"],
}
GETTERS = {
    "String": "string",
    "Boolean": "bool",
    "Number": "number",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
}
ARGUMENT = re.compile(
    r"^ +(\w+): \{\n +value: .*\n +isBlock: (true|false),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\",",
    re.MULTILINE,
)
PROPERTY = re.compile(r"/\*\*(?P<doc>(?:(?!\*/).)*)\*/\s+readonly \w+(?P<optional>\??): (?P<type>[^;]+);", re.DOTALL)
GETTER = re.compile(r"get \w+\(\) \{\s+return (.*)this\.get(\w*)Attribute\('(\w+)'\)")
MEMBER = re.compile(r"_\w+ = new (\w+?)(List|Map|OutputReference)\(this, \"(\w+)\"(?:, (true|false))?\)")


@cache
def package(provider: Published) -> Path:
    """The package's archive, fetched once with npm."""
    need(shutil.which("npm"), "npm is not installed")
    place = cache_directory() / f"{provider.name}-schema"
    archive = place / f"{provider.package.strip('@').replace('/', '-')}-{provider.version}.tgz"
    with locked(place.name):
        if not archive.exists():
            place.mkdir(exist_ok=True)
            for _ in range(3):  # a registry may have a bad moment
                command = ["npm", "pack", "--silent", f"{provider.package}@{provider.version}"]
                done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    break
            need(archive.exists(), f"npm could not fetch {provider.package}@{provider.version}: {done.stderr[-300:]}")
    return archive


def provider_schema(provider: Published, resources: set[str], data_sources: set[str]) -> Schema:
    """The provider's own block and those of the named types; a type that it does not have is left out.

    In the form of ``terraform providers schema -json``: ``provider``, ``resource_schemas``, ``data_source_schemas``.
    """
    folders = {"provider": ("provider", "")}
    for kind, prefix, names in (("resource", "", resources), ("data_source", f"data-{provider.name}-", data_sources)):
        for name in names:
            folders[prefix + name.removeprefix(f"{provider.name}_").replace("_", "-")] = (kind, name)
    made: Schema = {"resource_schemas": {}, "data_source_schemas": {}}
    for folder, (declared, code) in _read(provider, folders.keys()).items():
        kind, name = folders[folder]
        stated = f"{provider.name}/{provider.provider_version}/docs/"
        assert kind == "provider" or stated in declared, "another version than stated"
        schema = {"version": 0, "block": _Bindings(declared, code).block()}
        if kind == "provider":
            made["provider"] = schema
        else:
            made[f"{kind}_schemas"][name] = schema
    return made


def _read(provider: Published, folders: Any) -> dict[str, tuple[str, str]]:
    wanted = {f"package/lib/{folder}/index.{kind}": (folder, kind) for folder in folders for kind in ("d.ts", "js")}
    found: dict[str, dict[str, str]] = {}
    with tarfile.open(package(provider)) as archive:
        for entry in archive:
            if entry.name in wanted:
                folder, kind = wanted[entry.name]
                file = archive.extractfile(entry)
                assert file
                found.setdefault(folder, {})[kind] = file.read().decode()
                if sum(map(len, found.values())) == len(wanted):
                    break  # the rest of a large archive
    return {folder: (texts["d.ts"], texts["js"]) for folder, texts in found.items()}


class _Bindings:
    """The two generated files of one type: declarations say what is needed, code says names and types."""

    def __init__(self, declared: str, code: str) -> None:
        self._interfaces = dict(
            re.findall(r"^export interface (\w+)(?: extends \S+)? \{\n(.*?)^\}", declared, re.MULTILINE | re.DOTALL)
        )
        self._functions = {
            name.lower(): text
            for name, text in re.findall(
                r"^function (\w+)ToHclTerraform\(.*?\n(.*?)^\}", code, re.MULTILINE | re.DOTALL
            )
        }
        self._classes = dict(
            re.findall(r"^(?:export )?class (\w+) extends \S+ \{\n(.*?)^\}", code, re.MULTILINE | re.DOTALL)
        )

    def block(self) -> Schema:
        """The outermost block: arguments, and what only the provider sets."""
        config = next(name for name in self._interfaces if name.endswith("Config"))
        main = next(text for text in self._classes.values() if "synthesizeHclAttributes()" in text)
        made = self._nested(config, main[main.index("synthesizeHclAttributes()") :])
        for name, computed in self._computed(main).items():
            if name not in made["attributes"] and name not in made["block_types"]:
                made["attributes"][name] = {"type": computed, "computed": True}
        if "id" in made["attributes"]:
            made["attributes"]["id"]["computed"] = True
        return made

    def _nested(self, interface: str, code: str | None = None) -> Schema:
        if code is None:
            code = self._functions.get(interface.lower(), "")
        arguments = {name: kinds for name, *kinds in ARGUMENT.findall(code)}
        made: Schema = {"attributes": {}, "block_types": {}}
        for found in PROPERTY.finditer(self._interfaces[interface]):
            anchor = re.search(r"\{@link \S+#(\w+) ", found["doc"])
            if anchor is None:
                continue  # what the bindings add of their own: a provider's alias
            name = anchor[1]
            is_block, collection, storage = arguments[name]
            required = not found["optional"]
            nested = re.match(r"\w+", found["type"])
            if is_block == "false":
                kind = SIMPLE.get(storage, "dynamic")
                if collection == "set" and isinstance(kind, list):
                    kind = ["set", kind[1]]
                made["attributes"][name] = {"type": kind, "required": required, "optional": not required}
            elif re.search(r"^\s*\* \w+ block$", found["doc"], re.MULTILINE):
                single = "[]" not in found["type"]
                assert nested
                made["block_types"][name] = {
                    "nesting_mode": "single" if collection == "struct" else collection,
                    "block": self._nested(nested[0]),
                    "min_items": int(required),
                    "max_items": int(single and collection != "struct"),
                }
            else:  # an attribute that holds objects, and may be written as blocks
                assert nested
                inner = self._nested(nested[0])["attributes"]
                kind = [collection, ["object", {key: value["type"] for key, value in inner.items()}]]
                made["attributes"][name] = {"type": kind, "required": required, "optional": not required}
        return made

    def _computed(self, code: str) -> Schema:
        """What can be read from an instance, with its types."""
        made: Schema = {}
        for before, getter, name in GETTER.findall(code):
            kind = GETTERS.get(getter, "dynamic")
            made[name] = ["set", kind[1]] if "tolist" in before and isinstance(kind, list) else kind
        for stem, collection, name, is_set in MEMBER.findall(code):
            inner = self._classes.get(f"{stem}OutputReference")
            if inner is None or name == "timeouts":
                continue
            shape = "map" if collection == "Map" else "set" if is_set == "true" else "list"
            made[name] = [shape, ["object", self._computed(inner)]]
        return made
