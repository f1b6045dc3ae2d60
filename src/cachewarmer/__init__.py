"""cachewarmer fills a read-through NFS cache before a compute farm needs it.

For programs: ``warm``, ``scan`` and ``verify`` (see docs/python.md). They are loaded when they are first asked for, so
that importing the package costs nothing.
"""

TYPE_CHECKING = False  # type checkers take it for True, whatever it says; typing's own costs an import
if TYPE_CHECKING:
    from cachewarmer.api import (
        CacheWarmerError,
        JobFailed,
        JobState,
        Progress,
        Report,
        ScanTotals,
        UsageError,
        Verified,
        scan,
        verify,
        warm,
    )

__version__ = "0.1.0"
__all__ = [
    "CacheWarmerError",
    "JobFailed",
    "JobState",
    "Progress",
    "Report",
    "ScanTotals",
    "UsageError",
    "Verified",
    "__version__",
    "scan",
    "verify",
    "warm",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  # the commands never come here

    return getattr(importlib.import_module("cachewarmer.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
