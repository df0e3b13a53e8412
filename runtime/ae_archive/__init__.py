"""Arrays in a compressed archive, every value within a bound of what it was, on every machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ae_runtime import __version__

if TYPE_CHECKING:
    from ae_archive.reading import Archive, Bad, Chunk, decompress
    from ae_archive.writing import Written, compress

__all__ = ["Archive", "Bad", "Chunk", "Written", "__version__", "compress", "decompress"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import ae_archive` costs an application nothing until it uses an archive.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "writing" if name in ("Written", "compress") else "reading"
    return getattr(importlib.import_module(f"ae_archive.{module}"), name)
