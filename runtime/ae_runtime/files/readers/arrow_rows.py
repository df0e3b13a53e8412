"""Tables of Arrow as rows that a bundle takes; the base of the Parquet and Arrow readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.errors import DataError, InputFailed, NoRows
from ae_runtime.extras import need
from ae_runtime.files.readers.blocks import Block, Piece, SeriesCut, Stream, cut
from ae_runtime.files.readers.columns import (
    Wanted,
    choose,
    named,
    numbers_of_text,
    settle_columns,
    settle_numbers,
    settle_times,
)
from ae_runtime.files.readers.raw_bytes import fingerprint
from ae_runtime.tables.arrow import (
    column_values,
    index_of_pandas,
    is_vector,
    joined,
    kind_of,
    length_of,
    to_table,
    vectors,
)
from ae_runtime.tables.categories import to_text, truth_as_digits
from ae_runtime.tables.table import Table, check_names, check_vectors

Array = NDArray[Any]


class ArrowRows(Stream):
    """Rows that come as tables of Arrow. Its blocks are found by their rows, without positions.

    kind: what errors call the file.
    """

    kind = "Arrow"
    series: SeriesCut | None = None
    rows: int | None

    def __init__(
        self, path: Path, wanted: Wanted, id_column: str | None, member: str | None = None
    ) -> None:
        self.path, self.id_name, self._wanted = path, id_column, wanted
        self.fingerprint = fingerprint(path)
        self._has_whole_ids = False
        self._look()

    def _look(self) -> None:
        """Open the file, find its columns, and what they take. Raises NoRows."""
        raise NotImplementedError

    def pieces(self, size: int, first: int) -> Iterator[Piece]:
        """The rows from `first` on, in pieces of any length."""
        raise NotImplementedError

    def tables(self, columns: list[str]) -> Iterator[Any]:
        """The rows in tables of some of the columns."""
        raise NotImplementedError

    def blocks(self, size: int, first: int = 0, position: int = 0) -> Iterator[Block]:
        """Blocks cut from pieces."""
        return cut(self.pieces(size, first), size, first)

    def choose_columns(self, schema: Any) -> None:
        """Choose the columns that are wanted from an Arrow schema."""
        arrow, wanted = need("pyarrow", "data"), self._wanted
        with named(self.path):
            check_names(schema.names)
        keys = self._wanted.keys
        self._beside = [name for name in keys if name not in schema.names]
        for name in self._beside:
            schema = schema.append(arrow.field(name, arrow.string()))
        names = {self.id_name, wanted.time, *(wanted.names or ())}
        names |= {column.name for column in wanted.columns or ()}
        asked = {name for name in names if name is not None}
        aside = index_of_pandas(schema) - asked
        self._schema, self._lengths, self._names = schema, {}, []
        sources: dict[str, tuple[str, int | None]] = {}
        for field in schema:
            if is_vector(field.type) and self._takes(field.name, asked):
                self._lengths[field.name] = length = self._length(field)
                sources |= {f"{field.name}[{at}]": (field.name, at) for at in range(length)}
            elif is_vector(field.type) and field.name not in asked:
                sources[field.name] = field.name, None  # named among the columns left out
            elif kind_of(field.type) is not None and field.name not in aside:
                sources[field.name] = field.name, None
        available = list(sources)
        with named(self.path):
            check_vectors(available, asked)
        choice = choose(wanted, self.path, available, True, self.id_name)
        self.notes = choice.notes
        self.time_name = None if choice.times is None else wanted.time
        self._names = [available[at] for at in choice.columns]
        self._sources = [sources[name] for name in self._names]
        beside = [name for name in (self.id_name, self.time_name) if name is not None]
        used = dict.fromkeys([*(source for source, _ in self._sources), *beside])
        # At least one column, which says how many rows there are.
        self._columns = [name for name in used if name not in self._beside] or schema.names[:1]
        kinds = [schema.field(source).type for source, _ in self._sources]
        kinds = [kind.value_type if is_vector(kind) else kind for kind in kinds]
        self._are_dates = [kind_of(kind) == "date" for kind in kinds]
        is_float32 = all(str(kind) in ("float", "halffloat") for kind in kinds)
        self._dtype = np.dtype(np.float32 if is_float32 else np.float64)
        self._all_numbers = all(kind_of(kind) in ("integer", "real") for kind in kinds)
        self._all_numbers &= all(at is None for _, at in self._sources)

    def _takes(self, name: str, asked: set[str]) -> bool:
        """Whether the numbers of a vector may be wanted: by name, or all of them by position."""
        by_name = self._wanted.names is not None or self._wanted.columns is not None
        return not by_name or any(other.startswith(f"{name}[") for other in asked)

    def _length(self, field: Any) -> int:
        """The length of the vectors in a column, by its first list."""
        length = getattr(field.type, "list_size", None)
        if length is None:
            lengths = (length_of(table.column(field.name)) for table in self.tables([field.name]))
            length = next((length for length in lengths if length is not None), 0)
        return int(length)

    def piece(self, table: Any, first: int) -> Piece:
        """The rows of a table as the bundle takes them; the first is row `first` of the file."""
        table = self._with_keys(table)
        bad: dict[int, str] = {}
        values = self._values(table, first, bad)
        wanted = self._wanted
        if wanted.columns is not None:
            for at, column in enumerate(wanted.columns):
                if column.type == "date" and not self._are_dates[at]:
                    values[at] = to_text(values[at])  # to be read by their digits, as in a CSV
            arrays, bad = settle_columns(wanted, self._names, wanted.columns, values, first, bad)
        else:
            for at, name in enumerate(self._names):
                if values[at].dtype == object:
                    cells = truth_as_digits(values[at])
                    values[at], wrong = numbers_of_text(cells, "number", name, first)
                    bad = wrong | bad
            x = np.stack(values, axis=1).astype(self._dtype, copy=False)  # as for whole groups
            x[list(bad)] = 0
            arrays, bad = settle_numbers(wanted, self.path, x, first, bad)
        ids = None if self.id_name is None else self.ids_of(table.column(self.id_name))
        times = None
        if self.time_name is not None:
            times = column_values(table.column(self.time_name), self.time_name)
        times, bad = self.times_of(times, first, bad)
        return Piece(arrays, np.zeros(table.num_rows, np.int64), ids, bad, times)

    def _with_keys(self, table: Any) -> Any:
        arrow = need("pyarrow", "data")
        for name in self._beside:
            value = arrow.scalar(self._wanted.keys[name], arrow.string())
            table = table.append_column(name, arrow.repeat(value, table.num_rows))
        return table

    def _values(self, table: Any, first: int, bad: dict[int, str]) -> list[Array]:
        """The values of the columns; rows whose vectors have another length are added to bad."""
        blocks: dict[str, Array] = {}
        with named(self.path):
            for name in dict.fromkeys(source for source, at in self._sources if at is not None):
                blocks[name], wrong = vectors(table.column(name), name, self._lengths[name])
                bad |= {row: f"row {first + row + 1}, {why}" for row, why in wrong.items()}
            return [
                column_values(table.column(source), source) if at is None else blocks[source][:, at]
                for source, at in self._sources
            ]

    def times_of(
        self, values: Array | None, first: int, bad: dict[int, str]
    ) -> tuple[Array | None, dict[int, str]]:
        """(times, bad): the times of rows; rows whose time cannot be read are added to bad."""
        if values is None or self.time_name is None:
            return None, bad
        return settle_times(values, self.time_name, first, bad)

    def ids_of(self, column: Any) -> Array:
        """The id of each row, from the column of ids."""
        if self._has_whole_ids:
            return np.asarray(joined(column), np.int64)
        if kind_of(column.type) == "text":  # a dictionary too, which Arrow does not cast to text
            texts = column_values(column, str(self.id_name))
            return np.array([text or "" for text in texts], object)
        return np.array(column.cast("string").fill_null("").to_pylist(), object)

    def closing_notes(self) -> list[str]:
        """Lines on categories that the model does not know."""
        return list(self._wanted.unknown.lines().values()) if self._wanted.unknown else []

    @contextmanager
    def said(self) -> Iterator[None]:
        """Turn pyarrow's errors into one line that names the file."""
        try:
            yield
        except DataError as error:
            raise type(error)(f"{self.path}: {error}") from None
        except MemoryError:
            raise
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            if isinstance(error, OSError) and (error.errno or self._has_changed()):
                reason = error.strerror or "it changed meanwhile"
                raise InputFailed(
                    f"{self.path} cannot be read to its end: {reason}; see that it is still there"
                ) from error
            raise _unreadable(self.path, error, self.kind) from None

    def _has_changed(self) -> bool:
        return not os.path.exists(self.path) or fingerprint(self.path) != self.fingerprint


def read_whole(path: Path, kind: str, read: Callable[[], Any]) -> Table:
    """The columns of a file that pyarrow reads whole; see tables.arrow.to_table.

    kind: what errors call the file. Raises DataError for a file that cannot be read, NoRows.
    """
    try:
        table = read()
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise _unreadable(path, error, kind) from None
    if not table.num_rows:
        raise NoRows(f"{path} holds no rows")
    with named(path):
        return to_table(table)


def _unreadable(path: Path, error: Exception, kind: str) -> DataError:
    return DataError(f"{path} is not a readable {kind} file: {' '.join(str(error).split())}")
