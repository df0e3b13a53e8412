"""Graphs that pass admission and are still no good, and bytes that are no graph at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ae_runtime
from ae_runtime.errors import AeError, BundleRefused
from ae_runtime.graphs import protobuf
from ae_runtime.graphs.graph import read_graph
from ae_runtime.model import devices

Rewrite = Callable[..., Path]
Writer = SimpleNamespace
X = np.ones((3, 6))


@pytest.fixture
def w(onnx_writer: Writer) -> Writer:
    return onnx_writer


def wire_error(raw: bytes) -> str:
    with pytest.raises(protobuf.WireError) as caught:
        read_graph(raw)
    return str(caught.value)


def test_bytes_that_are_no_graph(table_bundle: Path, rewrite: Rewrite, w: Writer) -> None:
    for raw, reason in (
        (b"\x00", "field 0"),
        (b"\xff", "a number ends past its message"),
        (w.model()[:-1], "field 7 ends past its message"),
        (
            w.field(8, w.field(1, b"\xff")),
            "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
    ):
        bundle = rewrite(table_bundle, {"encoder.onnx": raw})
        with pytest.raises(BundleRefused) as caught:
            ae_runtime.load(bundle)
        assert str(caught.value) == f"{bundle}: encoder.onnx is not an ONNX model: {reason}"


def test_wire_format(w: Writer) -> None:
    key = w.varint
    assert wire_error(key(1 << 3) + b"\x80" * 10 + b"\x01") == "a number ends past its message"
    assert wire_error(key(1 << 3) + b"\xff" * 9 + b"\x02") == "a number of more than 64 bits"
    assert read_graph(key(1 << 3) + b"\xff" * 9 + b"\x01").ir_version == 2**64 - 1
    assert wire_error(key(7 << 3 | 2) + key(5) + b"1234") == "field 7 ends past its message"
    assert wire_error(key(7 << 3 | 2) + key(2**63) + b"1") == "field 7 ends past its message"
    assert wire_error(key(7 << 3 | 1) + b"1234567") == "field 7 ends past its message"
    assert wire_error(key(7 << 3 | 5) + b"123") == "field 7 ends past its message"
    assert wire_error(key(3 << 3 | 3) + key(3 << 3 | 4)) == "wire type 3 of field 3"
    assert wire_error(key(3 << 3 | 6)) == "wire type 6 of field 3"
    for message in (5, 7, 8):  # of a number where a message should be, or a fixed-width one
        graph = w.field(message, 5) if message != 5 else w.field(7, w.field(5, 1))
        assert wire_error(graph) == "a number where a message should be"
    assert wire_error(key(7 << 3 | 1) + b"12345678") == "a number where a message should be"
    dims = key(1 << 3 | 5) + b"\0\0\0\0"  # as packed numbers, these would make any tensor empty
    assert wire_error(w.field(7, w.field(5, dims))) == "a number where a message should be"


def test_a_field_behind_a_long_key_is_seen(w: Writer) -> None:
    # The parser of onnxruntime 1.23 drops the bits past 32, and reads another field than ours would
    # skip. Here it is one that no version knows.
    for bit in (32, 33, 34):
        number = ((1 << bit) | 99 << 3) >> 3
        key = w.varint((1 << bit) | 99 << 3 | 2)
        assert wire_error(w.field(7, key + w.varint(3) + b"any")) == f"field {number}"


def test_every_truncation_is_an_error_of_ours(table_bundle: Path) -> None:
    raw = (table_bundle / "encoder.onnx").read_bytes()
    whole = read_graph(raw)
    cut_short = 0
    for size in range(len(raw)):
        try:
            assert read_graph(raw[:size]) != whole
        except (protobuf.WireError, UnicodeDecodeError):
            cut_short += 1
    assert cut_short > 0.95 * len(raw)  # a cut between two fields leaves a message


def refused_at_work(bundle: Path) -> str:
    ae = ae_runtime.load(bundle)
    with pytest.raises(AeError) as caught:
        ae.encode(X)
    assert type(caught.value) is BundleRefused
    return str(caught.value)


def test_a_graph_that_onnxruntime_does_not_take(
    table_bundle: Path, rewrite: Rewrite, w: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = w.model(w.node("MatMul", "x w", "z"))  # float64 by float32
    message = refused_at_work(rewrite(table_bundle, {"encoder.onnx": encoder}))
    assert message.startswith("onnxruntime does not take the graph: [ONNXRuntimeError] : ")
    assert "Type parameter (T) of Optype (MatMul)" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")  # it is said once: nothing in onnxruntime's own log


def test_a_graph_that_does_not_run(
    table_bundle: Path, rewrite: Rewrite, w: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = (
        w.node("Cast", "x", "places", w.attribute("to", 7)),
        w.node("Gather", "few places", "y", w.attribute("axis", 0)),
        w.node("MatMul", "y w", "z"),
    )
    encoder = w.model(*nodes, tensors=(w.tensor("few", np.float32([1])),))
    message = refused_at_work(rewrite(table_bundle, {"encoder.onnx": encoder}))  # X is of ones
    assert message.startswith("onnxruntime cannot run the graph: [ONNXRuntimeError] : ")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_gives_one_row_for_all(
    table_bundle: Path, rewrite: Rewrite, w: Writer
) -> None:
    nodes = (
        w.node("Cast", "x", "x32", w.to_float),
        w.node("ReduceMean", "x32 zero", "m"),
        w.node("MatMul", "m w", "z"),
    )
    encoder = w.model(*nodes, tensors=(w.tensor("zero", np.int64([0])),))
    bundle = rewrite(table_bundle, {"encoder.onnx": encoder})
    with pytest.raises(BundleRefused) as caught:
        ae_runtime.load(bundle)
    assert str(caught.value) == (
        f"{bundle}: encoder.onnx: its output 'z' has shape (1, 2), not (batch, 2)"
    )


@pytest.mark.parametrize(
    "words",
    [
        "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9",
        "[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc",
    ],
)
def test_too_little_memory_is_not_the_bundles_fault(words: str) -> None:
    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError(words)

    with pytest.raises(MemoryError) as caught:
        devices.compute(Session(), ["z"], {"x": X})  # type: ignore[arg-type]
    assert str(caught.value) == f"onnxruntime cannot run the graph: {words}"
