"""Export a run or a pair of torch modules as a bundle, from Python or by the command ae-export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ae_train  # noqa: F401 - before torch, for it says how torch's threads wait
from ae_runtime import __version__

if TYPE_CHECKING:
    from ae_export.building import Exported
    from ae_export.exporting import export
    from ae_export.modules import export_modules
    from ae_export.precision import Weighed
    from ae_export.verify import Agreement

_HOMES = {
    "Agreement": "verify",
    "Exported": "building",
    "Weighed": "precision",
    "export": "exporting",
    "export_modules": "modules",
}
__all__ = ["Agreement", "Exported", "Weighed", "__version__", "export", "export_modules"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ae-export --help` is answered before torch is imported.
    if name in _HOMES:
        from ae_runtime import extras

        return getattr(extras.need(f"ae_export.{_HOMES[name]}", "export"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
