"""Rows held in memory and rows streamed from where they are give the same training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ae_runtime.bundle.manifest import Column
from ae_train.data import dataset as data_module
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.fit import preparing
from ae_train.fit import rows as rows_module
from ae_train.fit.fitting import evaluate
from ae_train.fit.preparing import fit_preprocess
from ae_train.fit.rows import HeldRows, StreamedRows, held_rows, make_rows
from ae_train.network.preprocess import measure
from ae_train.recipe import Recipe
from ae_train.training import train

Make = Callable[..., Recipe]
CPU = torch.device("cpu")


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough to be held; an epoch is made of many small buffers."""
    for module in (data_module, preparing, rows_module):
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(data_module, "_BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(rows_module, "_RUN_ROWS", 8)
    monkeypatch.setattr(rows_module, "_BUFFER_BYTES", 5 * 4 * 5 * 8)  # 5 runs of 5 numbers


class Lazy:
    """An array of which nothing but slices of rows can be had; it notes the longest."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.longest = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        found = self.array[rows]
        self.longest = max(self.longest, len(found))
        return found


def numbered(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Each row five times its own number, and a pattern of gaps that only this row has."""
    s = torch.from_numpy(rows).float()[:, None].expand(-1, 5)
    return s, (s.long() >> torch.arange(5)) % 2 == 0


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("count", [5, 40, 203])  # less than a run, one buffer, several
def test_streamed_batches_visit_every_row_once(streaming: None, count: int, size: int) -> None:
    torch.manual_seed(0)
    chosen = np.random.default_rng(0).permutation(10 * count)[:count]
    streamed = StreamedRows(numbered, chosen, 5, CPU)
    epochs = []
    for _ in range(2):
        batches = list(streamed.batches(size))
        assert [len(s) for s, _ in batches[:-1]] == [size] * (len(batches) - 1)  # all are full
        assert 0 < len(batches[-1][0]) <= size
        s = torch.cat([s for s, _ in batches])
        order = s[:, 0].long()
        np.testing.assert_array_equal(np.sort(order), np.sort(chosen))
        present = torch.cat([present for _, present in batches if present is not None])
        assert torch.equal(present, numbered(order.numpy())[1])  # gaps stay with their row
        epochs.append(order)
    assert not torch.equal(*epochs)
    assert len(streamed) == count


def test_a_streamed_batch_is_mixed_from_all_over(streaming: None) -> None:
    torch.manual_seed(0)
    streamed = StreamedRows(numbered, np.arange(800), 5, CPU)
    spans = [np.ptp(s[:, 0].numpy()) for s, _ in streamed.batches(40)]
    # 40 rows of 5 runs from random places; in the file's order they would span 39.
    assert np.median(spans) > 400
    first = next(iter(streamed.batches(40)))[0][:, 0]
    assert (first.diff().abs() == 1).float().mean() < 0.2  # nor do runs stay whole


@pytest.mark.parametrize("gaps", [False, True])
def test_held_batches_keep_gaps_with_their_rows(gaps: bool) -> None:
    torch.manual_seed(0)
    s, present = numbered(np.arange(100))
    held = HeldRows(s, present if gaps else None)
    batches = list(held.batches(16))
    order = torch.cat([s for s, _ in batches])[:, 0].long()
    assert sorted(order.tolist()) == list(range(100))
    for batch, there in batches:
        assert (there is None) == (not gaps)
        if there is not None:
            assert torch.equal(there, present[batch[:, 0].long()])


def table(rows: np.ndarray) -> Dataset:
    x = rows.copy()
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    return make_dataset(x)


def mixed(rows: np.ndarray) -> Dataset:
    columns = [Column(f"n{at}") for at in range(5)]
    columns.append(Column("word", "category", levels=["a", "b", "c"]))
    codes = np.random.default_rng(2).integers(-1, 3, (len(rows), 1)).astype(np.int32)
    return make_dataset(rows, "table", columns, codes=codes)


@pytest.mark.parametrize("make", [table, mixed, make_dataset])
def test_streamed_blocks_are_the_held_rows(
    rows: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[np.ndarray], Dataset],
) -> None:
    data = make(rows)
    every = np.arange(len(data))
    preprocess = fit_preprocess(data, measure(data, every), Recipe())
    chosen = np.random.default_rng(3).permutation(every)[:200]
    held = make_rows(data, preprocess, np.sort(chosen), CPU)
    monkeypatch.setattr(rows_module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(rows_module, "_block_rows", lambda numbers: 33)
    streamed = make_rows(data, preprocess, chosen, CPU)
    assert isinstance(held, HeldRows)
    assert isinstance(streamed, StreamedRows)
    blocks = list(streamed.blocks())
    assert [len(s) for s, _ in blocks] == [33] * 6 + [2]
    assert torch.equal(torch.cat([s for s, _ in blocks]), held.s)
    present = torch.cat([part for _, part in blocks if part is not None])
    expected = torch.ones_like(present) if held.present is None else held.present
    assert torch.equal(present, expected)
    assert (held.present is None) == (make is make_dataset)
    by_blocks = held_rows(data, preprocess, np.sort(chosen))
    assert torch.equal(by_blocks.s, held.s)


def test_a_streamed_training_beats_pca(streaming: None, small: Make, rows: np.ndarray) -> None:
    many = np.concatenate([rows, rows[::-1] + 1e-3, rows * 0.999])
    recipe = small(arch={"width": 16}, fit={"epochs": 6, "lr": 3e-2})
    lazy = Lazy(many)
    run = train(lazy, recipe)
    quality = run.schema.quality
    assert quality.validation_mse < 0.9 * quality.pca_mse  # three of five columns are curves
    assert not quality.is_pca
    assert sum(run.schema.rows.values()) == len(many)
    as_array = train(many, recipe)  # streamed too, from memory
    weights, others = run.model.state_dict(), as_array.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_large_arrays_are_never_read_whole(streaming: None, rows: np.ndarray) -> None:
    lazy = Lazy(np.tile(rows, (20, 1)))
    data = make_dataset(lazy)
    preprocess = fit_preprocess(data, measure(data, np.arange(100)), Recipe())
    for _ in make_rows(data, preprocess, np.arange(len(data)), CPU).batches(64):
        pass
    assert 0 < lazy.longest <= 100 < len(lazy)


def test_streamed_rows_are_judged_as_held_ones(
    small: Make, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(rows, small())
    data = table(rows)
    found: list[Any] = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(rows_module, "IN_MEMORY_BYTES", limit)
        judged = make_rows(data, run.model.preprocess, np.arange(len(data)), CPU)
        found.append(evaluate(run.model, judged)[:2])
    assert found[0] == pytest.approx(found[1], rel=1e-12)  # sums in float64
