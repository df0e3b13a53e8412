"""Arrays that cannot be used: each gets its own line, before any of it is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import AeError, DataError, DtypeMismatch, ShapeMismatch
from ae_runtime.model.arrays import EXACT_INTEGERS, checked, conversion

FLOAT64 = Port("x", "float64", [None, 2])
FLOAT32 = Port("x", "float32", [None, 2])
UINT8 = Port("x", "uint8", [None, 2])
RAGGED = (
    "x is not one array: setting an array element with a sequence. The requested array has an "
    "inhomogeneous shape after 1 dimensions. The detected shape was (2,) + inhomogeneous part."
)


def said(error: type[AeError], x: Any, port: Port, what: str = "x") -> str:
    with pytest.raises(AeError) as caught:
        checked(x, port, what)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "row", "message"),
    [
        ((3,), [None, 2], "x has shape (3,), the bundle wants (B, 2)"),
        (
            (2,),
            [None, 2],
            "x has shape (2,), the bundle wants (B, 2); for one sample write x[None]",
        ),
        ((5, 3), [None, 2], "x has shape (5, 3), the bundle wants (B, 2)"),
        ((2, 5), [None, 2], "x has shape (2, 5), the bundle wants (B, 2)"),
        ((1, 1, 2), [None, 2], "x has shape (1, 1, 2), the bundle wants (B, 2)"),
        ((5, 0), [None, 2], "x has shape (5, 0), the bundle wants (B, 2)"),
        ((0,), [None, 2], "x has shape (0,), the bundle wants (B, 2)"),
        ((), [None, 2], "x has shape (), the bundle wants (B, 2)"),
        (
            (28, 28),
            [None, 28, 28],
            "x has shape (28, 28), the bundle wants (B, 28, 28); for one sample write x[None]",
        ),
        (
            (9, 28, 28, 1),
            [None, 28, 28],
            "x has shape (9, 28, 28, 1), the bundle wants (B, 28, 28)",
        ),
    ],
)
def test_shapes(shape: tuple[int, ...], row: list[int | None], message: str) -> None:
    assert said(ShapeMismatch, np.zeros(shape), Port("x", "float64", row)) == message
    assert said(ShapeMismatch, np.zeros(shape), Port("x", "float64", row), "rows.npy") == (
        message.replace("x has", "rows.npy has").replace("x[None]", "rows.npy[None]")
    )


@pytest.mark.parametrize(
    ("x", "holds"),
    [
        ([["a", "b"]], "strings"),
        ([[b"a", b"b"]], "bytes"),
        ([[1, None]], "objects"),
        ([[1 << 70, 1]], "objects"),
        ([[1j, 2]], "complex numbers"),
        (np.array([["2026-01-01", "2026-01-02"]], "datetime64[s]"), "datetime64[s]"),
        (np.array([[1, 2]], "timedelta64[ms]"), "timedelta64[ms]"),
        (np.zeros((1, 2), [("a", "f8")]), "[('a', '<f8')]"),
    ],
)
@pytest.mark.parametrize("port", [FLOAT64, FLOAT32, UINT8])
def test_what_holds_no_real_numbers(x: Any, holds: str, port: Port) -> None:
    assert said(DtypeMismatch, x, port) == f"x holds {holds}, the bundle takes {port.dtype}"


def test_what_is_no_array() -> None:
    assert said(DataError, [[1, 2], [3]], FLOAT64) == RAGGED
    assert said(DtypeMismatch, {"a": [1, 2]}, FLOAT64) == (
        "x is a dict; this bundle takes one array of numbers"
    )
    assert said(ShapeMismatch, None, FLOAT64) == "x has shape (), the bundle wants (B, 2)"
    assert said(ShapeMismatch, "rows.npy", FLOAT64) == "x has shape (), the bundle wants (B, 2)"


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.zeros((3, 2), np.uint8)])
def test_masks_are_not_ignored(values: np.ndarray) -> None:
    masked = np.ma.masked_array(values, values == 0)
    assert said(DataError, masked, FLOAT64) == (
        "x is a masked array; fill it first, with x.filled(...)"
    )
    checked(masked.filled(1), FLOAT64)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_where_integers_are_taken(dtype: str) -> None:
    x = np.ones((1, 2), dtype)
    assert said(DtypeMismatch, x, UINT8) == (
        f"x is {dtype}, the bundle takes uint8; "
        "if the values are whole and in range, pass x.astype('uint8')"
    )
    checked(x.astype("uint8"), UINT8)  # what the message says to do works


@pytest.mark.parametrize(
    ("port", "dtype", "low", "high"),
    [
        (UINT8, "int8", 0, 127),
        (UINT8, "int64", 0, 255),
        (UINT8, "uint64", 0, 255),
        (FLOAT32, "int32", -(1 << 24), 1 << 24),
        (FLOAT32, "uint32", 0, 1 << 24),
        (FLOAT64, "int64", -(1 << 53), 1 << 53),
        (FLOAT64, "uint64", 0, 1 << 53),
    ],
)
def test_integers_that_would_not_survive(port: Port, dtype: str, low: int, high: int) -> None:
    allowed = {
        "uint8": "0 to 255",
        "float32": "-16777216 to 16777216",
        "float64": "-9007199254740992 to 9007199254740992",
    }[port.dtype]
    x = np.array([[low, high]], dtype)
    np.testing.assert_array_equal(checked(x, port).astype(port.dtype).astype(dtype), x)
    info = np.iinfo(dtype)
    for outside, text in (
        ([low, high + 1], f"{low} to {high + 1}"),
        ([low - 1, high], f"{low - 1} to {high}"),
        ([0, info.max], f"0 to {info.max}"),
    ):
        if min(outside) < info.min or max(outside) > info.max or info.max <= high:
            continue
        assert said(DtypeMismatch, np.array([outside], dtype), port) == (
            f"x is {dtype} and runs from {text}; {port.dtype} holds {allowed} exactly"
        )


def test_negative_bytes_do_not_wrap() -> None:
    assert said(DtypeMismatch, np.array([[-1, 5]], np.int8), UINT8) == (
        "x is int8 and runs from -1 to 5; uint8 holds 0 to 255 exactly"
    )
    assert said(DtypeMismatch, [[300, 5]], UINT8, "rows.csv") == (
        "rows.csv is int64 and runs from 5 to 300; uint8 holds 0 to 255 exactly"
    )


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int8", "uint8", "bool"])
def test_integers_that_always_survive_are_not_looked_at(dtype: str) -> None:
    x = np.ones((2, 2), dtype)
    for port in (FLOAT32, FLOAT64):
        assert checked(x, port) is x  # not copied, either


def test_each_method_names_its_own_argument(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle)
    image, z = np.zeros((8, 8), np.uint8), np.zeros(8)
    for call, message in (
        (
            lambda: ae.encode(image),
            "x has shape (8, 8), the bundle wants (B, 8, 8); for one sample write x[None]",
        ),
        (
            lambda: ae.reconstruct(image),
            "x has shape (8, 8), the bundle wants (B, 8, 8); for one sample write x[None]",
        ),
        (
            lambda: ae.decode(z),
            "z has shape (8,), the bundle wants (B, 8); for one sample write z[None]",
        ),
    ):
        with pytest.raises(ShapeMismatch) as caught:
            call()
        assert str(caught.value) == message
    with pytest.raises(DtypeMismatch) as caught:
        ae.decode(np.array([["a"] * 8]))
    assert str(caught.value) == "z holds strings, the bundle takes float32"
    assert ae.encode(image[None]).shape == (1, 8)


def test_callers_may_catch_the_builtin(digits_bundle: Path) -> None:
    ae = ae_runtime.load(digits_bundle)
    with pytest.raises(ValueError, match="x has shape"):
        ae.encode(np.zeros((1, 7)))
    with pytest.raises(TypeError, match="x holds strings"):
        ae.encode(np.full((1, 8, 8), "a"))


INTEGERS = [
    np.dtype(f"{order}{kind}{size}") for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)
]
LAYOUTS = {
    "in one piece": lambda x: x,
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "unaligned": lambda x: (
        np.frombuffer(b"!" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wanted", ["uint8", "int32", "int64", "float32", "float64"])
def test_one_row_is_refused_where_a_batch_is(wanted: str, layout: str) -> None:
    limits = [value for dtype in INTEGERS for value in (np.iinfo(dtype).min, np.iinfo(dtype).max)]
    exact = EXACT_INTEGERS.get(wanted)
    low, high = (-exact, exact) if exact else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    port = Port("x", wanted, [None, 2])
    for dtype in INTEGERS:
        holds = np.iinfo(dtype)
        for value in {limit + step for limit in limits for step in (-1, 0, 1)}:
            if not holds.min <= value <= holds.max:
                continue
            x = LAYOUTS[layout](np.array([[0, value], [1, 0]], dtype))
            convert = conversion(dtype, np.dtype(wanted)).both
            if low <= value <= high:
                assert convert(x, "x").tolist() == [[0, value], [1, 0]]
                assert checked(x, port) is x
            else:
                message = said(DtypeMismatch, x, port)
                with pytest.raises(DtypeMismatch, match=re.escape(message)):
                    convert(x, "x")
