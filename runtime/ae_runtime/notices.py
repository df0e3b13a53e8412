"""Warnings about rows that were taken, each given once."""

from __future__ import annotations

import sys
import warnings

from ae_runtime.errors import DataWarning

_OWN = ("ae_runtime", "ae_archive")  # packages whose calls no warning points at


class WarnOnce:
    """A DataWarning for each topic, the first time that it comes up."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, topic: str, line: str) -> None:
        """Warn, once for each topic, at the line of the caller outside these packages."""
        if topic not in self._said:
            self._said.add(topic)
            warnings.warn(line, DataWarning, stacklevel=_depth_of_caller())


def _depth_of_caller() -> int:
    """The stacklevel that makes a warning of the calling function name a line outside _OWN."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OWN):
        depth, frame = depth + 1, frame.f_back
    return depth
