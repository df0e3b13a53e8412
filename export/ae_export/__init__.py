"""Export a trained run as a bundle, from Python or with the command ae-export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ae_export.exporting import Exported, export

__all__ = ["Exported", "export"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ae-export --help` is answered before torch is imported.
    if name in __all__:
        from ae_runtime import extras

        return getattr(extras.need("ae_export.exporting", "export"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
