"""Rows in scaled space as training takes them: held as one tensor, or streamed from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ae_train.data.dataset import IN_MEMORY_BYTES, Dataset
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.preprocess import Preprocess

Pair = tuple[Tensor, Tensor | None]
_BLOCK_NUMBERS = 1 << 20
_BUFFER_BYTES = 1 << 27  # bytes of rows that a streamed epoch shuffles among each other
_RUN_ROWS = 256  # neighbouring rows that are read at once


class Rows(Protocol):
    """Scaled rows s, (N, ...) float32, with which of their numbers are present; None: all are."""

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[Pair]:
        """All rows once, in a random order from torch's generator, `size` at a time."""

    def blocks(self) -> Iterator[Pair]:
        """All rows once, in order, as many at a time as are cheap to compute on."""


@dataclass(frozen=True)
class HeldRows:
    """Rows as one tensor on the device. s: (N, ...) float32. present: the same, bool, or None."""

    s: Tensor
    present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.s)

    def batches(self, size: int) -> Iterator[Pair]:
        order = torch.randperm(len(self.s)).to(self.s.device)
        for batch in order.split(size):  # index_select copies whole rows, s[batch] number by number
            present = None if self.present is None else self.present.index_select(0, batch)
            yield self.s.index_select(0, batch), present

    def blocks(self) -> Iterator[Pair]:
        step = _block_rows(self.s.shape[1:].numel())
        for at in range(0, len(self.s), step):
            part = slice(at, at + step)
            yield self.s[part], None if self.present is None else self.present[part]

    def to(self, device: torch.device) -> HeldRows:
        """The same rows on a device."""
        present = None if self.present is None else self.present.to(device)
        return HeldRows(self.s.to(device), present)


class StreamedRows:
    """Rows larger than memory: read, scaled and shuffled buffer by buffer.

    An epoch takes runs of neighbouring rows in random order and shuffles the rows of some hundred
    runs among each other, so that data sorted by class are mixed, and the disk still reads runs.
    """

    def __init__(
        self, scale: Callable[[NDArray[np.int64]], Pair], rows: NDArray[np.int64], numbers: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.scale, self.rows, self.device = scale, np.sort(rows), device
        self.numbers = numbers
        self.runs_a_buffer = max(1, _BUFFER_BYTES // (4 * numbers * _RUN_ROWS))

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Pair]:
        runs = -(-len(self.rows) // _RUN_ROWS)
        leftover: list[Pair] = []
        for chosen in torch.randperm(runs).split(self.runs_a_buffer):
            s, present = _join(leftover + self._load(chosen.tolist()))
            order = torch.randperm(len(s))
            full = len(s) // size * size
            for at in range(0, full, size):  # not split(): that makes one empty batch of no rows
                batch = order[at : at + size]
                yield s[batch].to(self.device), _picked(present, batch, self.device)
            rest = order[full:]  # joins the next buffer, so that every batch but one is full
            leftover = [(s[rest], None if present is None else present[rest])]
            del s, present  # before the next buffer is read
        s, present = _join(leftover)
        if len(s):
            yield s.to(self.device), None if present is None else present.to(self.device)

    def blocks(self) -> Iterator[Pair]:
        for rows in _split(self.rows, _block_rows(self.numbers)):
            s, present = self.scale(rows)
            yield s.to(self.device), None if present is None else present.to(self.device)

    def _load(self, runs: list[int]) -> list[Pair]:
        return [self.scale(self.rows[run * _RUN_ROWS : (run + 1) * _RUN_ROWS]) for run in runs]


def make_rows(
    data: Dataset,
    preprocess: Preprocess | MixedPreprocess,
    rows: NDArray[np.int64],
    device: torch.device,
) -> HeldRows | StreamedRows:
    """These rows of the data, held where they fit into memory, streamed where they do not."""

    def scale(some: NDArray[np.int64]) -> Pair:
        parts = [torch.from_numpy(part) for part in data.take(some)]
        with torch.no_grad():
            return preprocess.scale_rows(*parts), preprocess.present(*parts)

    if len(rows) * data.form.numbers * 4 > IN_MEMORY_BYTES:
        return StreamedRows(scale, rows, data.form.numbers, device)
    return held_rows(data, preprocess, rows).to(device)


def held_rows(
    data: Dataset, preprocess: Preprocess | MixedPreprocess, rows: NDArray[np.int64]
) -> HeldRows:
    """These rows of the data, scaled, as one tensor."""
    s = torch.empty((len(rows), *data.form.scaled_shape))
    present = torch.ones(s.shape, dtype=torch.bool)
    at = 0
    for some in _split(rows, _block_rows(data.form.numbers)):
        parts = [torch.from_numpy(part) for part in data.take(some)]
        there = preprocess.present(*parts)
        s[at : at + len(some)] = preprocess.scale_rows(*parts)
        if there is not None:
            present[at : at + len(some)] = there
        at += len(some)
    return HeldRows(s, None if bool(present.all()) else present)


def _block_rows(numbers: int) -> int:
    return max(64, min(4096, _BLOCK_NUMBERS // max(1, numbers)))


def _split(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _join(parts: list[Pair]) -> Pair:
    """All parts as one; present is None where nothing is missing."""
    s = torch.cat([part[0] for part in parts])
    known = [torch.ones_like(rows, dtype=torch.bool) if p is None else p for rows, p in parts]
    if all(bool(part.all()) for part in known):
        return s, None
    return s, torch.cat(known)


def _picked(present: Tensor | None, batch: Tensor, device: torch.device) -> Tensor | None:
    return None if present is None else present[batch].to(device)
