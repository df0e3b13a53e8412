"""The same rows give the same bits: in any batch, tile, thread count, memory layout and dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.errors import ShapeMismatch
from ae_runtime.model.arrays import conversion

ROWS = 1000
Layout = Callable[[np.ndarray], Any]


def rows_for(ae: ae_runtime.Autoencoder, n: int = ROWS) -> np.ndarray:
    """Rows about where the training rows were: noise around the golden rows, some missing."""
    random = np.random.default_rng(0)
    shape = (n, *ae.input_shape)
    if ae.manifest.inputs[0].dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    low, high = np.array([(c.min or 0, c.max or 1) for c in ae.manifest.columns or []]).T
    x = random.uniform(low, high, shape)
    x[random.random(shape) < 0.05] = np.nan
    return x.astype(ae.manifest.inputs[0].dtype)


@pytest.fixture(params=["table", "float32", "image", "digits"])
def bundle(request: pytest.FixtureRequest, table_bundle: Path, digits_bundle: Path) -> Path:
    return digits_bundle if request.param == "digits" else table_bundle.parent / request.param


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()  # tells -0 from 0, and counts NaN as equal


def test_rows_at_once_are_rows_one_by_one(bundle: Path) -> None:
    ae = ae_runtime.load(bundle)
    x = rows_for(ae)
    z = np.concatenate([ae.encode(x[i : i + 1]) for i in range(ROWS)])
    x_hat = np.concatenate([ae.decode(z[i : i + 1]) for i in range(ROWS)])
    assert len(np.unique(z, axis=0)) > ROWS / 2  # a constant would agree with everything
    for n in (1, 2, 3, 7, 255, 256, 257, ROWS):
        same_bits(ae.encode(x[:n]), z[:n])
        same_bits(ae.decode(z[:n]), x_hat[:n])
        same_bits(ae.reconstruct(x[:n]), x_hat[:n])


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize("tile", [1, 7, 64, 256, 999, 5000, None])
def test_tiles_and_threads_change_nothing(
    table_bundle: Path, threads: int | None, tile: int | None
) -> None:
    ae = ae_runtime.load(table_bundle)
    x = rows_for(ae)
    other = ae_runtime.load(table_bundle, threads=threads, tile=tile)
    assert other.threads == threads or threads is None
    same_bits(other.encode(x), ae.encode(x))
    same_bits(other.decode(ae.encode(x)), ae.decode(ae.encode(x)))


def test_wide_rows_in_tiles_and_threads(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle, threads=1)
    x = rows_for(ae)
    for threads, tile in ((1, 3), (3, 100), (2, 255), (4, 1)):
        other = ae_runtime.load(digits_bundle, threads=threads, tile=tile)
        same_bits(other.reconstruct(x), ae.reconstruct(x))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("axes", [1, 2])
def test_convolutions_of_one_row_and_of_many(
    digits_bundle: Path, rewrite: Callable[..., Path], w: SimpleNamespace, op: str, axes: int
) -> None:
    # Libraries of kernels choose another way for a batch of one row: KleidiAI on ARM with SME.
    random = np.random.default_rng(0)
    channels, pixels = (16, [4]) if axes == 1 else (4, [4, 4])
    sides = (16, channels) if op == "Conv" else (channels, 16)
    weights = random.standard_normal((*sides, *[3] * axes)).astype(np.float32)
    last = random.standard_normal((16 * math.prod(pixels), 8)).astype(np.float32)
    encoder = w.model(
        w.node("Cast", "x", "x32", w.to_float),
        w.node("Reshape", "x32 channels", "pixels"),
        w.node(op, "pixels kernel", "y", w.attribute("pads", [1] * 2 * axes)),
        w.node("Reshape", "y flat", "y_flat"),
        w.node("MatMul", "y_flat last", "z"),
        tensors=(
            w.tensor("channels", np.array([-1, channels, *pixels])),
            w.tensor("kernel", weights),
            w.tensor("flat", np.array([-1, len(last)])),
            w.tensor("last", last),
        ),
        inputs=(w.port("x", 2, ["batch", 8, 8]),),
        outputs=(w.port("z", 1, ["batch", 8]),),
    )
    bundle = rewrite(digits_bundle, {"encoder.onnx": encoder})
    ae = ae_runtime.load(bundle, tile=64, threads=1)
    x = rows_for(ae, 129)  # two tiles, and one row left over
    z = np.concatenate([ae.encode(x[i : i + 1]) for i in range(len(x))])
    same_bits(ae.encode(x), z)
    for tile in (1, 2, 3, 128, 129):
        same_bits(ae_runtime.load(bundle, tile=tile, threads=2).encode(x), z)


def unaligned(x: np.ndarray) -> np.ndarray:
    buffer = bytearray(x.nbytes + 1)
    buffer[1:] = x.tobytes()
    return np.frombuffer(buffer, x.dtype, offset=1).reshape(x.shape)


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def every_other(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * len(x), *x.shape[1:-1], 3 * x.shape[-1]), x.dtype)
    wide[::2, ..., ::3] = x
    return wide[::2, ..., ::3]


LAYOUTS: dict[str, Layout] = {
    "fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "mirrored": lambda x: x[..., ::-1].copy()[..., ::-1],
    "strided": every_other,
    "swapped axes": lambda x: np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1),
    "big endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "read only": read_only,
    "nested list": np.ndarray.tolist,
    "bytes of a file": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_changes_nothing(bundle: Path, layout: str) -> None:
    ae = ae_runtime.load(bundle, tile=100)
    x = rows_for(ae, 300)
    before = x.copy()
    same_bits(ae.encode(LAYOUTS[layout](x)), ae.encode(x))
    z = ae.encode(x)
    same_bits(ae.decode(LAYOUTS[layout](z)), ae.decode(z))
    same_bits(x, before)  # the caller's array is not written to
    # This machine may read what is unaligned; others do not, and onnxruntime trusts that none is.
    x = np.asarray(LAYOUTS[layout](x))
    fit = conversion(x.dtype, np.dtype(ae.manifest.inputs[0].dtype)).convert(x)
    assert (fit.flags.c_contiguous, fit.flags.aligned, fit.dtype.isnative) == (True, True, True)
    if layout in ("read only", "bytes of a file"):
        assert fit is x  # fit as it is: not copied


def test_one_row_broadcast_to_many(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle)
    x = rows_for(ae, 1)
    same_bits(ae.encode(np.broadcast_to(x, (600, 6))), np.repeat(ae.encode(x), 600, 0))


def test_mapped_files(table_bundle: Path, tmp_path: Path) -> None:
    ae = ae_runtime.load(table_bundle)
    x = rows_for(ae)
    np.save(tmp_path / "x.npy", x)
    same_bits(ae.encode(np.load(tmp_path / "x.npy", mmap_mode="r")), ae.encode(x))


DTYPES = "?bBhHiIqQefdg"  # every real dtype of numpy


@pytest.mark.parametrize("code", DTYPES)
def test_dtypes_that_hold_the_values_change_nothing(golden_bundle: Path, code: str) -> None:
    ae = ae_runtime.load(golden_bundle)
    wanted = np.dtype(ae.manifest.inputs[0].dtype)
    x = np.random.default_rng(1).integers(0, 2, (50, *ae.input_shape))
    if np.dtype(code).kind != "f" or wanted.kind == "f":  # else refused, see test_arrays.py
        same_bits(ae.encode(x.astype(code)), ae.encode(x.astype(wanted)))
    z = np.random.default_rng(2).integers(0, 2, (50, ae.latent_dim))
    same_bits(ae.decode(z.astype(code)), ae.decode(z.astype(np.float32)))


def test_float64_is_rounded_to_float32_once(golden_bundle: Path) -> None:
    ae = ae_runtime.load(golden_bundle)
    z = np.random.default_rng(3).standard_normal((300, ae.latent_dim))
    same_bits(ae.decode(z), ae.decode(z.astype(np.float32)))
    if ae.manifest.inputs[0].dtype == "float32":
        x = rows_for(ae).astype(np.float64) * (1 + 1e-9)
        same_bits(ae.encode(x), ae.encode(x.astype(np.float32)))


def test_twice_is_the_same(bundle: Path) -> None:
    ae, again = ae_runtime.load(bundle), ae_runtime.load(bundle)
    x = rows_for(ae)
    same_bits(ae.encode(x), ae.encode(x))
    same_bits(ae.reconstruct(x), again.reconstruct(x))
    same_bits(ae.reconstruct(x), ae.decode(ae.encode(x)))


@pytest.mark.parametrize("tile", [1, None])
def test_no_rows(golden_bundle: Path, tile: int | None) -> None:
    ae = ae_runtime.load(golden_bundle, tile=tile)
    dtype = ae.manifest.inputs[0].dtype
    none = np.empty((0, *ae.input_shape), dtype)
    same_bits(ae.encode(none), np.empty((0, ae.latent_dim), np.float32))
    same_bits(ae.reconstruct(none), none)
    same_bits(ae.encode(none.astype(np.int64)), np.empty((0, ae.latent_dim), np.float32))
    with pytest.raises(ShapeMismatch):
        ae.encode([])


def test_results_are_the_callers_own(table_bundle: Path) -> None:
    ae = ae_runtime.load(table_bundle)
    x = rows_for(ae, 10)
    first = ae.encode(x)
    kept = first.copy()
    second = ae.encode(x[::-1])
    same_bits(first, kept)
    first[:] = 0
    same_bits(second, kept[::-1].copy())
