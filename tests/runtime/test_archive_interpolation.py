"""Rows told by interpolation, and exceptions: a reader gets what the writer saw."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ae_archive import Archive, compress
from ae_archive.coding import interpolation
from ae_archive.coding.outliers import pack_outliers, restore_outliers
from ae_runtime.errors import ArchiveCorrupt

SHAPES = [(1,), (2,), (3,), (97,), (5, 1), (40, 3), (6, 17), (1, 33), (9, 8, 7), (2, 1, 20)]


def smooth(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Waves along each axis, and a little noise."""
    x = 0.01 * np.random.default_rng(seed).standard_normal(shape)
    for at, size in enumerate(shape):
        along = [1] * len(shape)
        along[at] = size
        x += np.sin(np.arange(size) / (3 + at)).reshape(along)
    return x


def axes_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    chosen = product([False, True], repeat=len(shape))
    return [tuple(np.flatnonzero(one).tolist()) for one in chosen if any(one)]


def between(found: np.ndarray, at: tuple[int, ...], axis: int, s: int, cubic: bool) -> int:
    """A number as docs/archive-format.md tells it, one at a time."""

    def beside(steps: int) -> int | None:
        place = at[axis] + steps * s
        if not 0 <= place < found.shape[axis]:
            return None
        return int(found[(*at[:axis], place, *at[axis + 1 :])])

    a, b, c, d = (beside(steps) for steps in (-3, -1, 1, 3))
    assert b is not None
    if c is None:
        return b
    if cubic and a is not None and d is not None:
        return (9 * (b + c) - a - d + 8) >> 4
    return (b + c + 1) >> 1


def slowly(told: interpolation.Interpolated, shape: tuple[int, ...], width: int) -> np.ndarray:
    """The numbers of `told`, place by place."""
    found = np.zeros(shape, np.int64)
    every = [range(0, n, 1 << told.levels if a in told.axes else 1) for a, n in enumerate(shape)]
    for at, anchor in zip(product(*every), told.anchors.reshape(-1), strict=True):
        found[at] = anchor * width
    stages = zip(told.cubic, told.residuals, strict=True)
    for level in reversed(range(told.levels)):
        s = 1 << level
        for axis in told.axes:
            if shape[axis] <= s:
                continue
            cubic, left = next(stages)
            places = []
            for a, n in enumerate(shape):
                step = s if a < axis else 2 * s
                places.append(range(0, n, step if a in told.axes else 1))
            places[axis] = range(s, shape[axis], 2 * s)
            first = [places[axis], *places[:axis], *places[axis + 1 :]]
            for turned, number in zip(product(*first), left.reshape(-1), strict=True):
                at = (*turned[1 : axis + 1], turned[0], *turned[axis + 1 :])
                found[at] = between(found, at, axis, s, cubic) + number * width
    assert next(stages, None) is None
    return found


@pytest.mark.parametrize("width", [1, 5, 256])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_reader_gets_what_the_writer_saw(shape: tuple[int, ...], width: int) -> None:
    wanted = smooth(shape) * 3000
    usable = np.random.default_rng(1).random(shape) < 0.95
    for axes in axes_of(shape):
        for levels in (1, 2, 5, interpolation.MAX_LEVELS):
            each = np.full(shape[1:], width)
            told, found = interpolation.interpolate(wanted, usable, each, axes, levels)
            assert np.abs(found - wanted)[usable].max(initial=0) <= width / 2
            np.testing.assert_array_equal(slowly(told, shape, width), found)
            raw = interpolation.dump(told, shape)
            np.testing.assert_array_equal(interpolation.load(raw, shape, each), found)


def test_stages_of_their_own_and_together_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, width = (300, 50), np.full(50, 256)
    told, found = interpolation.interpolate(
        smooth(shape) * 1e4, np.ones(shape, bool), width, (0, 1), 5
    )
    sizes = []
    for joined in range(len(told.residuals) + 1):
        monkeypatch.setattr(interpolation, "_joined", lambda *_, joined=joined: joined)
        raw = interpolation.dump(told, shape)
        np.testing.assert_array_equal(interpolation.load(raw, shape, width), found)
        sizes.append(len(raw))
    assert len(set(sizes)) > len(sizes) // 2


def test_a_stream_of_its_own_must_save_more_than_its_time() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.rint(rng.laplace(size=(1 << 18, 1)) * scale).astype(int) for scale in (2, 40))
    assert interpolation._joined([one, one.copy(), one.copy()], 1) == 3
    # Its distribution is another, too: the second may be all one number.
    flat = np.where(rng.random(other.shape) < 1e-4, 50, 0)
    assert interpolation._joined([one, flat], 1) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(9000, 2), (90, 70), (5, 40, 41)], ids=str)
def test_what_is_smooth_is_interpolated(
    tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    x = smooth(shape)
    if len(shape) == 2 and shape[1] == 2:  # of which a linear predictor would know the waves
        x = np.cumsum(np.random.default_rng(0).standard_normal(shape), axis=0)
    x = (120 + 100 * x / np.abs(x).max()).astype(dtype)
    compress(x, tmp_path / "x.aez", max_error=6)
    with Archive(tmp_path / "x.aez") as archive:
        assert {chunk.mode for chunk in archive.chunks} == {"interpolation"}
        assert (np.abs(archive[:].astype(float) - x.astype(float)) <= 6).all()


def test_an_exact_column_and_missing_and_infinite_values(tmp_path: Path) -> None:
    x = np.cumsum(np.random.default_rng(0).standard_normal((6000, 3)), axis=0)
    x[:, 1] = np.repeat(np.arange(30), 200)
    x[100:200, 0], x[7, 2], x[8, 2] = np.nan, np.inf, -np.inf
    compress(x, tmp_path / "x.aez", max_error=[5, 0, 5])
    with Archive(tmp_path / "x.aez") as archive:
        assert archive.chunks[0].mode == "interpolation"
        found = archive[:]
    np.testing.assert_array_equal(found[:, 1], x[:, 1])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    np.testing.assert_array_equal(found[7:9, 2], x[7:9, 2])
    near = np.isfinite(x)
    assert (np.abs(found[near] - x[near]) <= 5).all()


@pytest.mark.parametrize("rmse", [0.02, 0.2])
def test_a_mean_error(tmp_path: Path, rmse: float) -> None:
    x = smooth((60, 50)).astype(np.float32)
    compress(x, tmp_path / "x.aez", rmse=rmse)
    with Archive(tmp_path / "x.aez") as archive:
        assert archive.chunks[0].mode in ("interpolation", "pca")
        off = archive[:].astype(float) - x
    assert 0.9 * rmse < np.sqrt(np.mean(off**2)) <= rmse


def test_changed_bytes_are_refused_or_give_numbers_of_the_shape() -> None:
    shape, width = (60, 33), np.full(33, 256)
    told, _ = interpolation.interpolate(smooth(shape) * 1e4, np.ones(shape, bool), width, (0, 1), 5)
    raw = interpolation.dump(told, shape)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            at = min(int(rng.exponential(40)), len(raw) - 1)
            changed[at] = rng.integers(256)
        try:
            found = interpolation.load(bytes(changed), shape, width)
        except ArchiveCorrupt:
            refused += 1
        else:
            assert found.shape == shape
            assert np.abs(found).max() < 1 << 57
    assert 0 < refused < 300


def test_missing_values_of_every_row_cost_little() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 500)).astype(np.float32)
    gaps = np.broadcast_to(rng.random(500) < 0.3, x.shape)
    x[gaps] = np.nan
    packed = pack_outliers(x, np.flatnonzero(gaps))
    assert len(packed) < 1500  # of 30,000 values
    found = np.where(gaps, 0, x).astype(np.float32)
    restore_outliers(found, packed)
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("places", [[0], [11], [0, 11], [0, 1, 2, 5, 6, 11], list(range(12))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint16, np.int32])
def test_exceptions_at_both_ends_and_all_over(places: list[int], dtype: type) -> None:
    bits = np.random.default_rng(0).integers(0, 256, (12, np.dtype(dtype).itemsize), np.uint8)
    x = bits.view(dtype).reshape(4, 3)
    found = np.zeros_like(x)
    restore_outliers(found, pack_outliers(x, np.array(places)))
    kept = np.zeros(12, bool)
    kept[places] = True
    whole = np.where(kept[:, None], bits, 0).view(dtype).reshape(4, 3)
    np.testing.assert_array_equal(found.view(f"u{x.itemsize}"), whole.view(f"u{x.itemsize}"))
