"""Load a bundle; encode, decode and reconstruct with numpy and onnxruntime, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ae_runtime import errors
from ae_runtime.errors import AeError, DataWarning

if TYPE_CHECKING:
    from ae_runtime.autoencoder import Autoencoder, load
    from ae_runtime.stream import Stream

__version__ = "0.1.0"
__all__ = ["AeError", "Autoencoder", "DataWarning", "Stream", "__version__", "errors", "load"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import ae_runtime` costs an application nothing until it loads a bundle.
    if name in ("load", "Autoencoder"):
        from ae_runtime import autoencoder

        return getattr(autoencoder, name)
    if name == "Stream":
        from ae_runtime.stream import Stream

        return Stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
