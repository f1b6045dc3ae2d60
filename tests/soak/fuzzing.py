"""Runs one fuzz target under atheris: ``python -m tests.soak.fuzzing NAME SECONDS [CORPUS]``.

A target is a module ``fuzz_NAME.py`` beside this one with a function ``fuzz(data: bytes) -> None``, which raises for a
defect and for nothing else: errors that the package raises on purpose are the right answer to nonsense. It may have
``SEEDS``, a list of bytes to start from.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
MAX_INPUT_BYTES = 16384
SLOW_SECONDS = 10
"""One input that takes longer is a defect."""


def targets() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def load(name: str) -> ModuleType:
    """A target's module."""
    return importlib.import_module(f"tests.soak.fuzz_{name}")


def function(module: ModuleType) -> Callable[[bytes], None]:
    """What is called with each input."""
    found: Callable[[bytes], None] = module.fuzz
    return found


def main() -> None:
    import atheris

    name, seconds = sys.argv[1], int(sys.argv[2])
    with atheris.instrument_imports(include=["cachewarmer"]):
        module = load(name)
    corpus = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(getattr(module, "SEEDS", [])):
        (corpus / f"seed{number}").write_bytes(seed)
    flags = [f"-max_total_time={seconds}", f"-timeout={SLOW_SECONDS}", f"-max_len={MAX_INPUT_BYTES}"]
    flags += [f"-artifact_prefix={corpus}/", "-rss_limit_mb=1024", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], function(module))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
