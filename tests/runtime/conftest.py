"""Bundles changed on purpose, graphs written byte by byte, and Python in a fresh process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

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


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative number is its two's complement
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _tensor(name: str, values: Any, dims: list[int] | None = None) -> bytes:
    """An initializer with the bytes of values, and their dims unless others are claimed."""
    values = np.asarray(values)
    dtype = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float64": 11}[values.dtype.name]
    shape = b"".join(_field(1, size) for size in (values.shape if dims is None else dims))
    return shape + _field(2, dtype) + _field(8, name) + _field(9, values.tobytes())


def _node(op: str, inputs: str, output: str, *attributes: bytes, domain: str = "") -> bytes:
    """An operator; inputs are names with spaces between."""
    raw = b"".join(_field(1, name) for name in inputs.split())
    raw += _field(2, output) + _field(4, op) + b"".join(_field(5, a) for a in attributes)
    return raw + (_field(7, domain) if domain else b"")


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


TO_FLOAT = _field(1, "to") + _field(3, 1) + _field(20, 2)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture(scope="session")
def onnx_writer() -> SimpleNamespace:
    """Write ONNX graphs byte by byte: what an exporter would never write can be written, too."""
    return SimpleNamespace(
        varint=_varint,
        field=_field,
        tensor=_tensor,
        node=_node,
        port=_port,
        model=_model,
        to_float=TO_FLOAT,
        weights=WEIGHTS,
    )


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
            timeout=100,
            env={k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"},
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run
