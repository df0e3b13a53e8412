"""Export a run or a pair of torch modules as a bundle, from Python or by the command ae-export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ae_train  # noqa: F401 - before torch, for it says how torch's threads wait
from ae_runtime import __version__ as __version__

if TYPE_CHECKING:
    from ae_export.building import Exported
    from ae_export.exporting import export
    from ae_export.modules import export_modules

__all__ = ["Exported", "export", "export_modules"]

_PLACES = {"Exported": "building", "export": "exporting", "export_modules": "modules"}


def __getattr__(name: str) -> Any:
    # Lazy, so that `ae-export --help` is answered before torch is imported.
    if name in _PLACES:
        from ae_runtime import extras

        return getattr(extras.need(f"ae_export.{_PLACES[name]}", "export"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
