"""The files of a bundle: what the graphs are made of, and what must not be in them."""

from __future__ import annotations

import filecmp
import getpass
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ae_export import export
from ae_runtime import load
from ae_runtime.bundle import manifest as manifests
from ae_runtime.bundle.manifest import Manifest
from ae_runtime.machine import doctor
from ae_train.run.folder import Run

GRAPHS = ("encoder.onnx", "decoder.onnx")


def every_message(message: Any) -> list[Any]:
    """A protobuf message and all that it holds."""
    found = [message]
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                found += every_message(inner)
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_opset_18_ir_8_and_the_standard_domain(case: Any, name: str) -> None:
    model = onnx.load_from_string(case.files[name])
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_but_the_graph_is_in_the_file(case: Any, name: str) -> None:
    model = onnx.load_from_string(case.files[name])
    for message in every_message(model):
        fields = {field.name for field, _ in message.ListFields()}
        assert not fields & {"metadata_props", "doc_string", "value_info", "external_data"}
    assert model.producer_name == "ae-toolkit"


@pytest.mark.parametrize(
    ("name", "missing"), [("scorer.onnx", {"MatMul", "Pow"}), ("sampler.onnx", {"Cos"})]
)
def test_operators_in_double_are_those_of_the_oldest_onnxruntime(
    case: Any, name: str, missing: set[str]
) -> None:
    # 1.23 makes a FusedMatMul of a MatMul beside a Transpose, and has neither that nor Cos in
    # double; `make bench-portability` runs the graphs there. Pow takes ten times as long as Mul.
    if name in case.files:
        operators = {node.op_type for node in onnx.load_from_string(case.files[name]).graph.node}
        assert not operators & missing
        assert operators & {"Gemm", "Sin"}


@pytest.mark.parametrize("name", GRAPHS)
def test_ports_have_the_models_names_shapes_and_types(case: Any, name: str) -> None:
    graph = onnx.load_from_string(case.files[name]).graph
    (feed,), (fetch,) = graph.input, graph.output

    def port(value: onnx.ValueInfoProto) -> tuple[str, str, list[str | int]]:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        return value.name, dtype, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]

    row = list(case.x.shape[1:])
    z = ("z", "float32", ["batch", 3])
    x, x_hat = ((word, case.x.dtype.name, ["batch", *row]) for word in ("x", "x_hat"))
    assert (port(feed), port(fetch)) == ((x, z) if name == GRAPHS[0] else (z, x_hat))


@pytest.mark.parametrize("name", GRAPHS)
def test_weights_keep_readable_names(case: Any, name: str) -> None:
    graph = onnx.load_from_string(case.files[name]).graph
    names = {tensor.name for tensor in graph.initializer}
    side = name.split("r.")[0]  # encode, decode
    assert any(f"{side}_axes.weight" in found for found in names)
    assert any(f"{side}_net.0.weight" in found for found in names)


def texts_in(name: str, raw: bytes) -> list[str]:
    """What a person could read in a file: all of a text, the names and words of others."""
    if name.endswith(".onnx"):
        model = onnx.load_from_string(raw)
        attributes = (a for node in model.graph.node for a in node.attribute)
        for tensor in (*model.graph.initializer, *(a.t for a in attributes if a.HasField("t"))):
            tensor.ClearField("raw_data")
        return [str(model)]
    if name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            heads = [archive.read(member).split(b"\n")[0] for member in archive.namelist()]
            parts = [archive.comment, *(member.extra for member in archive.infolist()), *heads]
            return [*archive.namelist(), *(part.decode("latin-1") for part in parts)]
    return [raw.decode()]


def test_no_file_names_a_place_or_a_person(case: Any) -> None:
    for name, raw in case.files.items():
        for hint in (case.bundle.parent, Path.home(), Path.cwd(), Path(onnx.__file__).parent):
            assert str(hint).encode() not in raw, name
        # In text only: three given bytes stand somewhere in most megabytes of weights.
        for text in texts_in(name, raw):
            place = re.search(r"(?<![\w.])/(home|tmp|usr|root|work|Users)/|[A-Z]:\\|\.py\b", text)
            assert place is None, (name, text)
        if name.endswith((".json", ".toml", ".md")):
            assert getpass.getuser() not in re.findall(r"\w+", raw.decode())


def row_in(rows: np.ndarray, files: dict[str, bytes]) -> str | None:
    """The file that holds one of the rows, as bytes or as text; None if none does."""
    for name, raw in files.items():
        for row in rows:
            # A value alone may be there by chance, or as the least or greatest of its column.
            if row.tobytes() in raw:
                return name
            values = [str(value).encode() for value in row.ravel()[:3].tolist()]
            if name.endswith(("json", "toml", "md")) and all(value in raw for value in values):
                return name
    return None


def test_no_row_of_the_data_is_in_a_bundle(case: Any) -> None:
    rows = case.x if case.x.dtype != np.uint8 else case.x[:, :2]  # a part is enough
    text = {name: raw for name, raw in case.files.items() if name != "manifest.json"}
    if case.x.dtype == np.uint8:  # "20" stands in any text
        text = {name: raw for name, raw in text.items() if name.endswith(("onnx", "npz"))}
    assert row_in(rows, text) is None
    columns = json.loads(case.files["manifest.json"])["columns"]
    ends = {"name", "type", "integer", "min", "max", "rmse"}
    assert all(set(column) == ends for column in columns or [])


@pytest.mark.parametrize("name", ["mixed", "conv1d"])
def test_no_row_of_a_mixed_table_or_a_series_is_in_a_bundle(
    any_case: Callable[[str], Any], name: str
) -> None:
    case = any_case(name)
    rows = case.x if name == "mixed" else case.x[:, :2]  # a part of a window is enough
    assert row_in(rows, {n: raw for n, raw in case.files.items() if n != "manifest.json"}) is None
    manifest = json.loads(case.files["manifest.json"])
    assert (manifest["columns"] is None) == (name != "mixed")
    if name == "mixed":
        assert manifest["series"] is None
        return
    # Of each channel its range over all training rows, as of columns, and nothing else.
    low, high = manifest["series"].pop("min"), manifest["series"].pop("max")
    assert [len(low), len(high)] == [case.x.shape[-1]] * 2
    unknown = dict.fromkeys(("channels", "stride", "time", "step"))
    assert manifest["series"] == unknown


def test_the_same_run_gives_the_same_bytes_anywhere(
    any_case: Callable[[str], Any], tmp_path: Path
) -> None:
    case = any_case("image")  # test_command.py does the same for a table in another process
    elsewhere = tmp_path / "another name"
    shutil.copytree(case.run.folder, elsewhere)
    bundle = tmp_path / "a bundle"
    export(elsewhere, bundle)
    names = sorted(case.files)
    assert sorted(path.name for path in bundle.iterdir()) == names
    assert filecmp.cmpfiles(case.bundle, bundle, names, shallow=False) == (names, [], [])


def test_real_golden_rows_are_in_the_bundle(any_case: Callable[[str], Any], tmp_path: Path) -> None:
    case = any_case("float32")
    export(case.run, tmp_path / "real", golden="real")
    raw = {path.name: path.read_bytes() for path in (tmp_path / "real").iterdir()}
    with np.load(tmp_path / "real" / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["x"], case.x[case.run.split.test[:32]])
    assert manifests.parse(raw["manifest.json"]).golden.rows == 32
    assert row_in(case.x, raw) == "golden.npz"  # so the search above would have found them
    same = [name for name in raw if raw[name] == case.files[name]]
    graphs = ["decoder.onnx", "encoder.onnx", "sampler.onnx", "scorer.onnx"]
    assert sorted(same) == sorted([*graphs, "README.md", "recipe.toml"])


def test_real_golden_rows_of_a_mixed_table(any_case: Callable[[str], Any], tmp_path: Path) -> None:
    case = any_case("mixed")
    export(case.run, tmp_path / "real", golden="real")
    with np.load(tmp_path / "real" / "golden.npz") as stored:
        golden = dict(stored)
    # Of held-out rows those are left out whose words a rounding error might change; here, none.
    first = case.run.split.test[:32]
    np.testing.assert_array_equal(golden["x_num"], case.parts[0][first])
    np.testing.assert_array_equal(golden["x_cat"], case.parts[1][first])
    assert np.isnan(golden["x_num"]).any()
    assert (golden["x_cat"] < 0).any()
    raw = {path.name: path.read_bytes() for path in (tmp_path / "real").iterdir()}
    assert row_in(case.x, raw) == "golden.npz"
    assert all(check.ok for check in doctor.examine(load(tmp_path / "real").model))


def test_the_files_are_those_of_the_manifest(case: Any) -> None:
    manifest: Manifest = manifests.parse(case.files["manifest.json"])
    graphs = ["decoder.onnx", "encoder.onnx", "sampler.onnx", "scorer.onnx"]
    assert sorted(case.files) == sorted(
        [*graphs, "README.md", "golden.npz", "manifest.json", "recipe.toml"]
    )
    assert sorted(manifest.files) == sorted(set(case.files) - {"README.md", "manifest.json"})
    assert {name: entry.bytes for name, entry in manifest.files.items()} == {
        name: len(case.files[name]) for name in manifest.files
    }
    assert case.exported.bytes == sum(map(len, case.files.values()))
    assert isinstance(case.run, Run)
    assert case.exported.model_id == manifest.model_id == case.run.model_id
