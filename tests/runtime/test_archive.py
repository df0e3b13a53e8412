"""Each value of an archive is within its bound, whatever it was, from any rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

import ae_archive
from ae_archive import Archive, compress, decompress
from ae_archive.header import DTYPES
from ae_runtime.errors import DataError, MissingExtra, OutputExists, SourceNotFound

RNG = np.random.default_rng


def walk(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Channels that drift and depend on one another."""
    x = np.cumsum(RNG(seed).standard_normal((rows, columns)), axis=0)
    return x + x[:, :1]


def read(path: Path) -> np.ndarray:
    with Archive(path) as archive:
        assert not archive.notes
        return archive[:]


def test_the_public_names() -> None:
    assert ae_archive.__all__ == [
        *("Archive", "Bad", "Chunk", "Written", "__version__", "compress", "decompress"),
    ]
    for name in ae_archive.__all__:
        getattr(ae_archive, name)
    with pytest.raises(AttributeError, match="module 'ae_archive' has no attribute 'compres'"):
        ae_archive.compres  # noqa: B018


def test_imports_bring_only_what_they_need(python: Callable[..., str], tmp_path: Path) -> None:
    new = (
        "import sys\nbefore = set(sys.modules)\ndef new():\n"
        "    tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "    return ' '.join(sorted(tops - sys.stdlib_module_names - {'typing_extensions'}))\n"
    )
    assert python(new + "import ae_archive; print(new())") == "ae_archive ae_runtime\n"
    compress(walk(20, 2), tmp_path / "x.aez", max_error=1)
    script = new + "from ae_archive import decompress; decompress(sys.argv[1]); print(new())"
    found = python(script, tmp_path / "x.aez")
    assert found == "ae_archive ae_runtime msgspec numpy\n"


def test_decompress_is_the_inverse_of_compress(tmp_path: Path) -> None:
    x = walk(1000, 3).astype(np.float32)
    compress(x, tmp_path / "exact.aez", chunk_rows=300)
    np.testing.assert_array_equal(decompress(tmp_path / "exact.aez"), x)
    compress(x, tmp_path / "x.aez", max_error=0.1, chunk_rows=300)
    found = decompress(tmp_path / "x.aez")
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert (np.abs(found.astype(float) - x) <= 0.1).all()
    np.testing.assert_array_equal(
        decompress(tmp_path / "x.aez", rows=slice(250, 700)), found[250:700]
    )
    with Archive(tmp_path / "x.aez") as archive:
        parts = list(archive.blocks(rows=slice(250, 700)))
        assert [first for first, _ in parts] == [250, 300, 600]
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), found[250:700])
    with pytest.raises(SourceNotFound):
        decompress(tmp_path / "y.aez")


def test_the_former_name_of_include_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="embed is called include_model now"):
        compress(walk(5, 1), tmp_path / "x.aez", max_error=1, embed=True)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_every_value_is_within_its_bound_and_the_archive_is_small(tmp_path: Path) -> None:
    pytest.importorskip("pcodec", reason="environment has no pcodec")
    x = walk(5000, 4)
    bound = np.array([0.05, 0.5, 0.01, 5.0])
    written = compress(x, tmp_path / "x.aez", max_error=bound, names=list("abcd"))
    with Archive(tmp_path / "x.aez") as archive:
        assert archive.names == list("abcd")
        np.testing.assert_array_equal(archive.max_error, bound)
        error = np.abs(archive[:] - x)
    assert (error <= bound).all()
    assert (error.max(axis=0) > 0.9 * bound).all()  # the bound is used: else bytes are wasted
    assert written.bytes == (tmp_path / "x.aez").stat().st_size
    # What is new in a row has deviation 2 in the first channel and, beside that, 1 in the others:
    # the entropy on the grid in bits, of the widest one a guess, and little more.
    bits = np.log2(np.array([2, 1, 1, 1]) * np.sqrt(2 * np.pi * np.e) / (2 * bound))
    assert written.bytes * 8 < 1.1 * 5000 * np.maximum(bits, 0.7).sum()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_error", [None, 0, 3.7])
def test_dtypes(tmp_path: Path, dtype: str, max_error: float | None) -> None:
    numbers = np.dtype(dtype)
    x = walk(700, 3) * 20
    if numbers.kind != "f":
        limits = np.iinfo(numbers)
        x = np.clip(x, max(limits.min, -1e6), min(limits.max, 1e6)).astype(numbers)
        x[:2] = [[limits.min], [limits.max]]
    x = x.astype(numbers)
    compress(x, tmp_path / "x.aez", max_error=max_error, chunk_rows=300)
    found = read(tmp_path / "x.aez")
    assert found.dtype == numbers
    assert found.shape == x.shape
    if not max_error:
        np.testing.assert_array_equal(found, x)
    elif numbers.kind == "f":
        assert (np.abs(found.astype(float) - x) <= max_error).all()
    else:
        assert max(abs(int(a) - int(b)) for a, b in zip(found.flat, x.flat, strict=True)) <= 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rmse", [0, (0, 4, 0.6)])
def test_dtypes_with_a_mean_error(tmp_path: Path, dtype: str, rmse: ArrayLike) -> None:
    numbers = np.dtype(dtype)
    x = (walk(700, 3) * 20).clip(0, 120).astype(numbers)
    compress(x, tmp_path / "x.aez", rmse=rmse, chunk_rows=300)
    found = read(tmp_path / "x.aez")
    assert found.dtype == numbers
    bound = np.broadcast_to(np.asarray(rmse, float), 3)
    np.testing.assert_array_equal(found[:, bound == 0], x[:, bound == 0])
    free = bound > 0
    for at in range(0, len(x) if free.any() else 0, 300):
        off = (found[at : at + 300, free].astype(float) - x[at : at + 300, free]) / bound[free]
        assert np.sqrt(np.square(off).mean()) <= 1


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float32"), ("bool", "uint8")])
def test_dtypes_that_are_stored_in_another(tmp_path: Path, dtype: str, stored: str) -> None:
    x = (walk(500, 3) > 0).astype(dtype) if dtype == "bool" else walk(500, 3).astype(dtype)
    if dtype == "float16":
        x[3] = [np.nan, np.inf, -0.0]
    out = tmp_path / "x.aez"
    written = compress([x[:200], x[200:]], out)
    assert written.raw_bytes == x.nbytes
    with Archive(out) as archive:
        assert (archive.dtype, archive.shape) == (x.dtype, x.shape)
        back = np.concatenate([rows for _, rows in archive.blocks()])
        assert archive[3].tobytes() == x[3].tobytes()
    assert (back.dtype, back.tobytes()) == (x.dtype, x.tobytes())
    compress(x, out, max_error=0.01, overwrite=True)  # float16 has not the values between
    with Archive(out) as archive:
        assert archive.dtype == stored
        off = np.abs(archive[10:].astype(np.float64) - x[10:])
    assert off.max() <= 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strange_values_come_back_with_their_bits(tmp_path: Path, dtype: Any) -> None:
    x = walk(900, 3).astype(dtype)
    strange = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, -np.finfo(dtype).max, 1e30]
    places = RNG(1).choice(x.size, 300, replace=False)
    x.flat[places] = RNG(2).choice(np.array(strange, dtype), 300)
    bits = x.view(f"u{x.itemsize}")
    bits.flat[places[0]] |= 5  # a NaN, or another number, of unusual bits
    compress(x, tmp_path / "x.aez", max_error=0.01)
    found = read(tmp_path / "x.aez")
    kept = ~np.isfinite(x) | (np.abs(x) > 1e20)
    np.testing.assert_array_equal(found.view(bits.dtype)[kept], bits[kept])
    # Rounding to float32 is within the bound, too.
    assert (np.abs(found[~kept].astype(float) - x[~kept]) <= 0.01).all()


@pytest.mark.parametrize("shape", [(40, 8, 8), (30, 5, 6, 3), (500,), (3, 700)])
def test_rows_of_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.cumsum(RNG(0).standard_normal(shape), axis=-1).astype(np.float32)
    compress(x, tmp_path / "x.aez", max_error=0.02)
    found = read(tmp_path / "x.aez")
    assert found.shape == shape
    assert (np.abs(found - x) <= 0.02).all()


@pytest.mark.parametrize(
    "x",
    [
        np.full((100, 2), 1e9) + walk(100, 2),
        np.full((100, 2), 1e300),
        np.zeros((50, 3)),
        np.ones((1, 1)),
        np.array([[5e-324], [1e-310], [0.0], [-0.0]]),
        np.where(RNG(0).random((400, 2)) < 0.5, -1e8, 1e8),
        RNG(0).integers(0, 2**63, (300, 2)).view(np.float64),
    ],
    ids=["far", "huge", "constant", "one", "subnormal", "two ends", "any bits"],
)
@pytest.mark.parametrize("max_error", [5e-324, 1e-320, 1e-6, 1.0, 1e200])
def test_hard_numbers(tmp_path: Path, x: np.ndarray, max_error: float) -> None:
    compress(x, tmp_path / "x.aez", max_error=max_error)
    found = read(tmp_path / "x.aez")
    same = found.view(np.uint64) == x.view(np.uint64)
    with np.errstate(all="ignore"):
        assert (same | (np.abs(found - x) <= max_error)).all()


def test_noise_takes_no_more_than_its_own_bytes(tmp_path: Path) -> None:
    x = RNG(0).integers(0, 256, (5000, 8), np.uint8)
    written = compress(x, tmp_path / "x.aez")
    assert written.modes == {"raw": 1}
    assert written.bytes < x.nbytes + 300


def test_blocks_are_the_same_as_one_array(tmp_path: Path) -> None:
    x = walk(1000, 3)
    compress(x, tmp_path / "one.aez", max_error=0.1, chunk_rows=128)
    blocks = (x[low : low + 77] for low in range(0, 1000, 77))
    compress(blocks, tmp_path / "many.aez", max_error=0.1, chunk_rows=128)
    assert (tmp_path / "one.aez").read_bytes() == (tmp_path / "many.aez").read_bytes()


def test_rows_by_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = walk(1000, 3)
    compress(x, tmp_path / "x.aez", max_error=0.1, chunk_rows=100)
    with Archive(tmp_path / "x.aez") as archive:
        whole = archive[:]
        assert len(archive) == 1000
        for rows in (slice(150, 350), slice(-5, None), slice(None, None, -7), slice(5, 5), 999, -1):
            np.testing.assert_array_equal(archive[rows], whole[rows])
        with pytest.raises(IndexError):
            archive[1000]
        np.testing.assert_array_equal(np.concatenate([x for _, x in archive.blocks()]), whole)
        decoded = []
        real = Archive.chunk
        monkeypatch.setattr(Archive, "chunk", lambda a, at: decoded.append(at) or real(a, at))
        _ = archive[150:350]
    assert decoded == [1, 2, 3]  # what it needs, and no more


def test_without_pcodec_zlib_does_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pcodec", reason="environment has no pcodec")
    x = walk(3000, 2)
    compress(x, tmp_path / "pcodec.aez")
    compress(x, tmp_path / "before.aez", max_error=0.1)
    monkeypatch.setitem(sys.modules, "pcodec", None)
    monkeypatch.setitem(sys.modules, "pcodec.standalone", None)
    compress(x, tmp_path / "zlib.aez")
    np.testing.assert_array_equal(read(tmp_path / "zlib.aez"), x)
    with pytest.raises(MissingExtra, match=r'^pcodec cannot .*; pip install "ae-toolkit\[arc'):
        read(tmp_path / "pcodec.aez")
    compress(x, tmp_path / "bound.aez", max_error=0.1)  # which needs neither
    assert (tmp_path / "bound.aez").read_bytes() == (tmp_path / "before.aez").read_bytes()


def test_what_cannot_be_compressed(tmp_path: Path) -> None:
    out = tmp_path / "x.aez"
    for x, words, line in (
        (np.ones((3, 0)), {}, "an archive holds rows of values (N, ...), not an array of (3, 0)"),
        ([[1.0], [2.0]], {}, "an archive is made of arrays, not of list; np.array(x) is one"),
        (iter([]), {}, "there are no rows to compress"),
        (np.array(["a"]), {}, "an archive holds float32, float64, int8, int16, int32, int64, "
         "uint8, uint16, uint32, uint64, float16, bool, not <U1"),
        (np.ma.masked_array(np.ones((2, 3))), {},
         "x is a masked array; fill it first, with x.filled(...)"),
        (iter([np.ones((2, 3)), np.ma.masked_array(np.ones((2, 3)))]), {},
         "x is a masked array; fill it first, with x.filled(...)"),
        (np.ones((2, 3)), {"max_error": -1}, "max_error must hold numbers from 0 to 1e+300"),
        (np.ones((2, 3)), {"max_error": [1, 2]},
         "max_error of shape (2,) does not fit rows of shape (3,)"),
        (np.ones((2, 3)), {"names": ["a"]}, "there are 1 names for 3 columns"),
        (np.ones((2, 3)), {"chunk_rows": 0},
         "chunks of 0 rows of 3 values cannot be; choose 1 to 2,796,202 rows"),
        (iter([np.ones((2, 3)), np.ones((2, 4))]), {},
         "the block from row 3 on is float64 of shape (2, 4), the first one float64 of shape "
         "(2, 3); all rows must be alike"),
    ):  # fmt: skip
        with pytest.raises(DataError) as error:
            compress(x, out, **words)
        assert str(error.value) == line
        assert not list(tmp_path.iterdir())


def test_outputs_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "x.aez"
    compress(np.ones((3, 2)), out)
    with pytest.raises(OutputExists, match=r"exists already; --overwrite replaces it$"):
        compress(np.zeros((3, 2)), out)
    compress(np.zeros((3, 2)), out, overwrite=True)
    assert not read(out).any()
    before = out.read_bytes()
    with pytest.raises(ZeroDivisionError):
        compress((np.ones((1, 2)) / (3 // at) for at in (1, 0)), out, overwrite=True)
    assert out.read_bytes() == before
    (tmp_path / "mine.aez").write_text("mine")
    with pytest.raises(OutputExists, match="is not an archive; it is never overwritten"):
        compress(np.ones((3, 2)), tmp_path / "mine.aez", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.aez", "x.aez"]


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"does not exist$"):
        Archive(tmp_path / "none.aez")
