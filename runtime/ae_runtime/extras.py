"""Import a package that an extra brings, or say in one line which extra to install."""

from __future__ import annotations

import importlib
from typing import Any

from ae_runtime.errors import MissingExtra


def need(module: str, extra: str) -> Any:
    """The module `module`. Raises MissingExtra that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module.partition('.')[0]} cannot be imported ({error}); "
            f'pip install "ae-toolkit[{extra}]"'
        ) from None
