"""Bundles changed on purpose, graphs written byte by byte, and Python in a fresh process."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_wire import varint, write

import ae_runtime
from ae_runtime import console
from ae_runtime.errors import BundleRefused
from ae_runtime.files.readers import formats

Run = Callable[[str], tuple[int, str, str]]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def rewrite(tmp_path: Path) -> Callable[..., Path]:
    """Copy a bundle with other files and another manifest, every hash made right again.

    rewrite(bundle, {"encoder.onnx": raw}, edit): edit changes the manifest's fields in place.
    """

    def make(bundle: Path, files: dict[str, bytes] | None = None, edit: Edit | None = None) -> Path:
        copy = tmp_path / "bundle"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bundle, copy)
        fields = json.loads((copy / "manifest.json").read_bytes())
        for name, raw in (files or {}).items():
            (copy / name).write_bytes(raw)
            fields["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        if edit:
            edit(fields)
        fields.pop("manifest_sha256", None)
        # Written out here as docs of the format, not taken from the code that is tested.
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        fields["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (copy / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")
        return copy

    return make


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return write([(number, 0, value)])
    return write([(number, 2, value.encode() if isinstance(value, str) else value)])


def _tensor(name: str, values: Any, dims: list[int] | None = None) -> bytes:
    """An initializer with the bytes of values, and their dims unless others are claimed."""
    values = np.asarray(values)
    dtype = DTYPES[values.dtype.name]
    shape = b"".join(_field(1, size) for size in (values.shape if dims is None else dims))
    return shape + _field(2, dtype) + _field(8, name) + _field(9, values.tobytes())


def _node(op: str, inputs: str, outputs: str, *attributes: bytes, domain: str = "") -> bytes:
    """An operator; inputs and outputs are names with spaces between, "-" for one left out."""
    names = [(1, name) for name in inputs.split()] + [(2, name) for name in outputs.split()]
    raw = b"".join(_field(side, name.replace("-", "")) for side, name in names)
    raw += _field(4, op) + b"".join(_field(5, a) for a in attributes)
    return raw + (_field(7, domain) if domain else b"")


def _attribute(name: str, value: Any) -> bytes:
    """An attribute that is a number, a text, whole numbers, texts, or the bytes of a tensor."""
    if isinstance(value, float):
        return _field(1, name) + write([(2, 5, struct.pack("<f", value))]) + _field(20, 1)
    if isinstance(value, list):
        number, kind = (9, 8) if value and isinstance(value[0], str) else (8, 7)
        return _field(1, name) + b"".join(_field(number, v) for v in value) + _field(20, kind)
    number, kind = {int: (3, 2), str: (4, 3), bytes: (5, 4)}[type(value)]
    return _field(1, name) + _field(number, value) + _field(20, kind)


def _port(name: str, dtype: int, dims: list[int | str]) -> bytes:
    axes = b"".join(_field(1, _field(1 if isinstance(d, int) else 2, d)) for d in dims)
    return _field(1, name) + _field(2, _field(1, _field(1, dtype) + _field(2, axes)))


def _model(
    *nodes: bytes,
    tensors: tuple[bytes, ...] = (),
    inputs: tuple[bytes, ...] | None = None,
    outputs: tuple[bytes, ...] | None = None,
    ir_version: int = 8,
    opsets: tuple[tuple[str, int], ...] = (("", 18),),
    graph: bytes = b"",
    model: bytes = b"",
) -> bytes:
    """An encoder for table_bundle: x (batch, 6) float64 -> z (batch, 2) float32.

    Without nodes, z is x @ w with the w of `weights` below. graph, model: bytes to append there.
    """
    if not nodes:
        nodes = (_node("Cast", "x", "x32", TO_FLOAT), _node("MatMul", "x32 w", "z"))
    body = b"".join(_field(1, node) for node in nodes) + _field(2, "main")
    body += b"".join(_field(5, tensor) for tensor in (_tensor("w", WEIGHTS), *tensors))
    for number, ports, default in (
        (11, inputs, _port("x", 11, ["batch", 6])),
        (12, outputs, _port("z", 1, ["batch", 2])),
    ):
        body += b"".join(_field(number, port) for port in (ports or (default,)))
    versions = b"".join(_field(8, _field(1, d) + _field(2, v)) for d, v in opsets)
    return _field(1, ir_version) + versions + _field(7, body + graph) + model


DTYPES = {**{"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float64": 11}}
TO_FLOAT = _attribute("to", 1)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture(scope="session")
def onnx_writer() -> SimpleNamespace:
    """Write ONNX graphs byte by byte: what an exporter would never write can be written, too."""
    return SimpleNamespace(
        varint=varint,
        field=_field,
        tensor=_tensor,
        node=_node,
        attribute=_attribute,
        port=_port,
        model=_model,
        to_float=TO_FLOAT,
        weights=WEIGHTS,
    )


@pytest.fixture
def w(onnx_writer: SimpleNamespace) -> SimpleNamespace:
    """onnx_writer by a short name, for tests that write many graphs."""
    return onnx_writer


@pytest.fixture
def refusal(table_bundle: Path, rewrite: Callable[..., Path]) -> Callable[[bytes], str]:
    """The message of loading table_bundle with this encoder, after the words that all have."""

    def message(encoder: bytes) -> str:
        bundle = rewrite(table_bundle, {"encoder.onnx": encoder})
        with pytest.raises(BundleRefused) as caught:
            ae_runtime.load(bundle)
        return str(caught.value).removeprefix(f"{bundle}: encoder.onnx: ")

    return message


@pytest.fixture
def mixed_bundle(
    table_bundle: Path, rewrite: Callable[..., Path], onnx_writer: SimpleNamespace
) -> Path:
    """Columns age (a number) and job (cook, clerk, other) -> 2 latents that keep them whole."""
    w = onnx_writer
    to_double, to_code, one = (w.attribute("to", 11), w.attribute("to", 6), w.attribute("axis", 1))
    x = (w.port("x_num", 11, ["batch", 1]), w.port("x_cat", 6, ["batch", 1]))
    encoder = w.model(
        w.node("Cast", "x_num", "number", w.to_float),
        w.node("Cast", "x_cat", "code", w.to_float),
        w.node("Concat", "number code", "z", one),
        inputs=x,
    )
    decoder = w.model(
        w.node("Split", "z", "number code", one, w.attribute("num_outputs", 2)),
        w.node("Cast", "number", "x_hat_num", to_double),
        w.node("Cast", "code", "x_hat_cat", to_code),
        w.node("Equal", "code places", "found"),
        w.node("Cast", "found", "x_hat_prob", w.to_float),
        tensors=(w.tensor("places", np.arange(3, dtype=np.float32)),),
        inputs=(w.port("z", 1, ["batch", 2]),),
        outputs=(
            *(w.port("x_hat_num", 11, ["batch", 1]), w.port("x_hat_cat", 6, ["batch", 1])),
            w.port("x_hat_prob", 1, ["batch", 3]),
        ),
    )

    def edit(fields: dict[str, Any]) -> None:
        ports = [("num", "float64", 1), ("cat", "int32", 1), ("prob", "float32", 3)]
        fields["inputs"] = [
            {"name": f"x_{name}", "dtype": dtype, "shape": [None, size]}
            for name, dtype, size in ports[:2]
        ]
        fields["outputs"] = [
            {"name": f"x_hat_{name}", "dtype": dtype, "shape": [None, size]}
            for name, dtype, size in ports
        ]
        levels = ["cook", "clerk", "other"]
        fields["columns"] = [
            {"name": "age", "type": "number"},
            {"name": "job", "type": "category", "levels": levels},
        ]

    return rewrite(table_bundle, {"encoder.onnx": encoder, "decoder.onnx": decoder}, edit)


@pytest.fixture(scope="session")
def sampling(table_bundle: Path) -> None:
    """Skip where onnxruntime lacks Cos of float64, of which samplers of the first bundles are made.

    1.27 lacks it, 1.30 has it.
    """
    try:
        ae_runtime.load(table_bundle.parent / "scored").sample(1)
    except BundleRefused as error:
        if "implementation for Cos(7)" not in str(error):
            raise
        pytest.skip("onnxruntime here has no Cos of float64")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit code, stdout and stderr of ae-run with these words.

    However busy the machine: no line of progress, and "0 s" for any time.
    """
    from ae_runtime.cli import ae_run

    monkeypatch.setattr(console, "LOG_EVERY_S", math.inf)
    monkeypatch.setattr(console, "duration", lambda seconds: "0 s")

    def call(words: str) -> tuple[int, str, str]:
        return console.run(ae_run, "ae-run", words.split()), *capsys.readouterr()

    return call


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Run a script in a fresh process, warnings as errors, and give back what it printed."""

    def run(script: str, *arguments: object) -> str:
        path = tmp_path / "script.py"
        path.write_text(script)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,  # a script that hangs
            env={k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"},
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def rows_in() -> Callable[[str | Path], NDArray[Any]]:
    """The numbers (N, ...) in a file of any format, as training reads them."""

    def rows(name: str | Path) -> NDArray[Any]:
        if formats.holds_columns(Path(name)):
            return np.stack(list(formats.read_table(name).columns.values()), axis=1)
        return formats.read_array(name)

    return rows
