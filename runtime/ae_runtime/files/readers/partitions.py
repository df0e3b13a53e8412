"""Folders of a data set: files below folders that are named for a column, as year=2026."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ae_runtime.errors import DataError
from ae_runtime.tables.table import Table

ENDINGS = (".parquet", ".arrow", ".feather")
MISSING = "__HIVE_DEFAULT_PARTITION__"  # what Hive, Spark and DuckDB call a missing value


@dataclass(frozen=True)
class Part:
    """A file of a data set. keys: the word of each column that its folders are named for."""

    path: Path
    keys: dict[str, str | None]


def find_parts(folder: Path) -> list[Part]:
    """The files of a data set in a folder, by name; what begins with a dot or _ does not count.

    None are found where the folder holds none, nor folders that are named for a column. Raises
    DataError where the files are not all named for the same columns.
    """
    parts = _parts_in(folder, {})
    names = [list(part.keys) for part in parts]
    for part, found in zip(parts, names, strict=True):
        if found != names[0]:
            raise DataError(
                f"{folder}: {parts[0].path.parent} and {part.path.parent} are not named for the "
                "same columns; bring a folder of one data set"
            )
    return parts


def _parts_in(folder: Path, keys: dict[str, str | None]) -> list[Part]:
    parts = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        name, equals, word = path.name.partition("=")
        if path.is_dir() and equals and name:
            text = unquote(word)
            parts += _parts_in(path, keys | {unquote(name): None if text == MISSING else text})
        elif path.name.lower().endswith(ENDINGS) and path.is_file():
            parts.append(Part(path, keys))
    return parts


def with_keys(tables: Sequence[Table], parts: Sequence[Part]) -> list[Table]:
    """The tables of parts with a column for each of their keys, of whole numbers or of words.

    A column that a file holds itself stays as it is.
    """
    found = list(tables)
    for name in parts[0].keys:
        words = [part.keys[name] for part in parts]
        whole = all(word is None or _is_whole(word) for word in words)
        for at, (table, word) in enumerate(zip(found, words, strict=True)):
            if name in table.columns:
                continue
            if whole:
                cells = np.full(table.rows, np.nan if word is None else float(word))
            else:
                cells = np.full(table.rows, word, object)
            integer = table.integer | {name} if whole else table.integer
            found[at] = replace(table, columns=table.columns | {name: cells}, integer=integer)
    return found


def _is_whole(word: str) -> bool:
    return word.lstrip("-").isdecimal() and word.isascii() and len(word) < 16
