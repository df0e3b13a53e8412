"""Manifests: what a newer minor version may add, and what is refused with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle import manifest
from ae_runtime.errors import AeError, BundleCorrupt, BundleTooNew

Rewrite = Callable[..., Path]
Edit = Callable[[dict[str, Any]], None]
NO_JSON = "manifest.json is not valid JSON ({}); export again"
PORTS = (
    "B: manifest.json: inputs and outputs must be x and x_hat, or x_num and x_cat and x_hat_num, "
    "x_hat_cat and x_hat_prob, each with a shape of null and sizes; "
    "update ae-toolkit or export again"
)
FIT = (
    "B: manifest.json: the shapes and dtypes of inputs and outputs do not go together; export again"
)


def said(error: type[AeError], bundle: Path) -> str:
    """The message of loading, the bundle's folder written as B."""
    with pytest.raises(AeError) as caught:
        ae_runtime.load(bundle)
    assert type(caught.value) is error
    return str(caught.value).replace(f"{bundle}: ", "B: ")


def with_field(path: str, value: Any) -> Edit:
    """An edit that sets the field at a path such as inputs.0.name."""

    def edit(fields: dict[str, Any]) -> None:
        *parents, last = [int(p) if p.isdecimal() else p for p in path.split(".")]
        place: Any = fields
        for parent in parents:
            place = place[parent]
        place[last] = value

    return edit


def test_a_newer_minor_version_loads(table_bundle: Path, rewrite: Rewrite) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields |= {"format": "1.7", "owner": {"name": "Zoë", "rows": [1, 2.5, None, True]}}
        fields["latent"]["meaning"] = ["one", "two"]
        fields["columns"][0]["unit"] = "m"
        fields["files"]["scorer.onnx"] = {"bytes": 1, "sha256": "0" * 64}

    x = np.random.default_rng(0).standard_normal((5, 6))
    newer = ae_runtime.load(rewrite(table_bundle, edit=edit))
    np.testing.assert_array_equal(newer.encode(x), ae_runtime.load(table_bundle).encode(x))
    assert newer.manifest.format == "1.7"


def test_a_newer_minor_version_with_words_that_are_new(
    table_bundle: Path, rewrite: Rewrite
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields |= {"format": "1.7", "kind": "audio"}

    assert said(BundleTooNew, rewrite(table_bundle, edit=edit)) == (
        "B: the bundle has format 1.7 and needs a newer version: Invalid enum value 'audio' - at "
        "`$.kind`; update ae-toolkit"
    )


@pytest.mark.parametrize("version", ["2.0", "2", "2.0.1", "11.3", "9" * 18])
def test_a_newer_major_version_is_refused(
    table_bundle: Path, rewrite: Rewrite, version: str
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields.clear()  # nothing else of a newer version is looked at
        fields["format"] = version

    assert said(BundleTooNew, rewrite(table_bundle, edit=edit)) == (
        f"B: the bundle has format {version}, this version reads up to 1.x; update ae-toolkit"
    )


@pytest.mark.parametrize(
    ("version", "found"),
    [
        (1.0, "1.0"),
        (None, "None"),
        ({}, "{}"),
        ("", "''"),
        ("one", "'one'"),
        ("0.9", "'0.9'"),
        ("-1.0", "'-1.0'"),
        ("²", "'²'"),
        ("٢.0", "'٢.0'"),  # decimal digits to Python, and no ASCII
        ("1" + "0" * 5000, "'1" + "0" * 38),  # int() refuses so many digits
    ],
)
def test_no_version(table_bundle: Path, rewrite: Rewrite, version: Any, found: str) -> None:
    bundle = rewrite(table_bundle, edit=with_field("format", version))
    assert said(BundleCorrupt, bundle) == f"B: manifest.json names no format version, found {found}"


def test_a_changed_manifest(table_bundle: Path, rewrite: Rewrite) -> None:
    bundle = rewrite(table_bundle)
    path = bundle / "manifest.json"
    text = path.read_text()
    message = "B: manifest.json does not match its own hash; fetch or export it again"
    path.write_text(text.replace('"far"', '"fat"', 1))
    assert said(BundleCorrupt, bundle) == message
    fields = json.loads(text)
    del fields["manifest_sha256"]
    path.write_text(json.dumps(fields))
    assert said(BundleCorrupt, bundle) == message
    # White space and the order of fields are not part of the hash.
    path.write_text(json.dumps(json.loads(text), indent=7, sort_keys=True))
    ae_runtime.load(bundle)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", NO_JSON.format("Input data was truncated")),
        (b'{"format": "1.0"', NO_JSON.format("Input data was truncated")),
        (
            b'{"format": "1.0"} x',
            NO_JSON.format("JSON is malformed: trailing characters (byte 19)"),
        ),
        (b"# no JSON", NO_JSON.format("JSON is malformed: invalid character (byte 0)")),
        (
            b'{"format": "1.0", "a": NaN}',
            NO_JSON.format("JSON is malformed: invalid character (byte 23)"),
        ),
        (b'{"format": "1.0", "a": 1e999}', NO_JSON.format("Number out of range - at `$[...]`")),
        (
            b'{"format": "\xff"}',
            NO_JSON.format(
                "'utf-8' codec can't decode byte 0xff in position 12: invalid start byte"
            ),
        ),
        (b"null", "manifest.json names no format version, found None"),
        (b'["1.0"]', "manifest.json names no format version, found None"),
        (b"{}", "manifest.json names no format version, found None"),
    ],
)
def test_what_is_no_manifest(
    table_bundle: Path, rewrite: Rewrite, raw: bytes, message: str
) -> None:
    bundle = rewrite(table_bundle)
    (bundle / "manifest.json").write_bytes(raw)
    assert said(BundleCorrupt, bundle) == f"B: {message}"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [100_000, *range(9900, 10_100, 20), *range(900, 1010, 5)])
def test_deep_nesting(table_bundle: Path, rewrite: Rewrite, opening: bytes, depth: int) -> None:
    # Reading and hashing give up at different depths, near 1000 or 10,000 as Python has it, and
    # neither must end the process.
    bundle = rewrite(table_bundle)
    closing = b"]" if opening == b"[" else b"}"
    inner = opening * depth + b"1" + closing * depth
    (bundle / "manifest.json").write_bytes(b'{"format": "1.0", "a": ' + inner + b"}")
    too_deep = "B: manifest.json is nested too deeply; export again"
    wrong_hash = "B: manifest.json does not match its own hash; fetch or export it again"
    assert said(BundleCorrupt, bundle) in (
        {too_deep} if depth == 100_000 else {too_deep, wrong_hash}
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "audio", "Invalid enum value 'audio' - at `$.kind`"),
        ("precision", "fp8", "Invalid enum value 'fp8' - at `$.precision`"),
        ("model_id", 5, "Expected `str`, got `int` - at `$.model_id`"),
        ("latent", None, "Expected `object`, got `null` - at `$.latent`"),
        ("latent", {}, "Object missing required field `dim` - at `$.latent`"),
        ("latent.dim", "2", "Expected `int`, got `str` - at `$.latent.dim`"),
        ("latent.dim", 0, "Expected `int` >= 1 - at `$.latent.dim`"),
        ("latent.dim", -2, "Expected `int` >= 1 - at `$.latent.dim`"),
        ("latent.dim", 1 << 40, "Expected `int` <= 268435456 - at `$.latent.dim`"),
        ("inputs", {}, "Expected `array`, got `object` - at `$.inputs`"),
        ("inputs.0.dtype", "int16", "Invalid enum value 'int16' - at `$.inputs[0].dtype`"),
        ("inputs.0.shape", 6, "Expected `array`, got `int` - at `$.inputs[0].shape`"),
        ("outputs.0.shape.1", -6, "Expected `int` >= 0 - at `$.outputs[0].shape[1]`"),
        (
            "inputs.0.shape.1",
            1 << 40,
            "Expected `int` <= 268435456 - at `$.inputs[0].shape[1]`",
        ),
        (
            "outputs.0.shape.1",
            6.5,
            "Expected `int | null`, got `float` - at `$.outputs[0].shape[1]`",
        ),
        ("columns.2.name", 1, "Expected `str | null`, got `int` - at `$.columns[2].name`"),
        ("columns.0.type", "text", "Invalid enum value 'text' - at `$.columns[0].type`"),
        ("quality.pca_mse", "good", "Expected `float`, got `str` - at `$.quality.pca_mse`"),
        ("golden.rows", 0, "Expected `int` >= 1 - at `$.golden.rows`"),
        ("golden.tolerance", -1, "Expected `float` >= 0.0 - at `$.golden.tolerance`"),
        ("files", [], "Expected `object`, got `array` - at `$.files`"),
        ("series", 5, "Expected `object | null`, got `int` - at `$.series`"),
        ("series", {"stride": 0}, "Expected `int` >= 1 - at `$.series.stride`"),
        (
            "series",
            {"channels": [1]},
            "Expected `str`, got `int` - at `$.series.channels[0]`",
        ),
    ],
)
def test_fields_of_the_wrong_type(
    table_bundle: Path, rewrite: Rewrite, path: str, value: Any, message: str
) -> None:
    bundle = rewrite(table_bundle, edit=with_field(path, value))
    assert said(BundleCorrupt, bundle) == f"B: manifest.json: {message}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "Expected `object`, got `null` - at `$.files[...]`"),
        ({"bytes": 406}, "Object missing required field `sha256` - at `$.files[...]`"),
        # read(-1) would read a file of any size
        ({"bytes": -2, "sha256": ""}, "Expected `int` >= 0 - at `$.files[...].bytes`"),
    ],
)
def test_entries_of_files(table_bundle: Path, rewrite: Rewrite, entry: Any, message: str) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["files"]["recipe.toml"] = entry

    assert said(BundleCorrupt, rewrite(table_bundle, edit=edit)) == f"B: manifest.json: {message}"


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "golden.npz", "recipe.toml"])
def test_a_file_that_is_not_named(table_bundle: Path, rewrite: Rewrite, name: str) -> None:
    bundle = rewrite(table_bundle, edit=lambda fields: fields["files"].pop(name))
    assert said(BundleCorrupt, bundle) == f"B: the manifest names no {name}; export again"


X = {"name": "x", "dtype": "float64", "shape": [None, 6]}


@pytest.mark.parametrize(
    "ports",
    [
        [],
        [X, X],
        [X | {"name": "y"}],
        [X | {"shape": []}],
        [X | {"shape": [6, None]}],
        [X | {"shape": [3, 6]}],
        [X | {"shape": [None, None]}],
    ],
)
@pytest.mark.parametrize(("which", "name"), [("inputs", "x"), ("outputs", "x_hat")])
def test_ports_that_the_runtime_does_not_feed(
    table_bundle: Path, rewrite: Rewrite, which: str, name: str, ports: list[dict[str, Any]]
) -> None:
    ports = [port | {"name": port["name"].replace("x", name)} for port in ports]
    bundle = rewrite(table_bundle, edit=with_field(which, ports))
    assert said(BundleCorrupt, bundle) == PORTS


@pytest.mark.parametrize(
    ("x", "x_hat"),
    [
        ({"dtype": "int32"}, {"dtype": "int32"}),  # codes of words, which come with numbers
        ({"shape": [None, 0]}, {"shape": [None, 0]}),
        ({"shape": [None, 0, 4]}, {"shape": [None, 0, 4]}),
        ({"dtype": "float32"}, {}),
        ({}, {"shape": [None, 5]}),
        ({}, {"shape": [None, 6, 1]}),
    ],
)
def test_rows_of_an_array_come_back_as_they_were(
    table_bundle: Path, rewrite: Rewrite, x: dict[str, Any], x_hat: dict[str, Any]
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["inputs"][0] |= x
        fields["outputs"][0] |= x_hat

    assert said(BundleCorrupt, rewrite(table_bundle, edit=edit)) == FIT


NUMBERS = [{"name": "age", "type": "number"}, {"name": "born", "type": "date"}]
WORDS = [
    {"name": "job", "type": "category", "levels": ["cook", "clerk", "other"]},
    {"name": "paid", "type": "boolean", "levels": ["no", "yes"]},
]


def mixed(columns: Any, numbers: int, words: int, levels: int, **ports: Any) -> Edit:
    """An edit to the ports of a mixed table; ports: other fields, by a port's name."""
    shaped = [
        *(("x_num", "float64", numbers), ("x_cat", "int32", words)),
        *(("x_hat_num", "float64", numbers), ("x_hat_cat", "int32", words)),
        ("x_hat_prob", "float32", levels),
    ]

    def edit(fields: dict[str, Any]) -> None:
        made = [
            {"name": name, "dtype": dtype, "shape": [None, size]} | ports.get(name, {})
            for name, dtype, size in shaped
        ]
        fields |= {"inputs": made[:2], "outputs": made[2:], "columns": columns}

    return edit


@pytest.mark.parametrize(
    ("columns", "sizes"),
    [
        (NUMBERS + WORDS, (2, 2, 5)),
        (WORDS, (0, 2, 5)),  # no column of numbers
        (WORDS[:1], (0, 1, 3)),
        (NUMBERS, (2, 0, 0)),
    ],
)
def test_mixed_ports_fit_the_columns(
    table_bundle: Path, rewrite: Rewrite, columns: list[Any], sizes: tuple[int, int, int]
) -> None:
    parsed = manifest.parse(
        (rewrite(table_bundle, edit=mixed(columns, *sizes)) / "manifest.json").read_bytes()
    )
    assert parsed.is_mixed
    assert [port.row_shape for port in (*parsed.inputs, *parsed.outputs)] == [
        (size,) for size in (*sizes[:2], *sizes)
    ]


@pytest.mark.parametrize(
    "edit",
    [
        mixed(NUMBERS + WORDS, 3, 2, 5),
        mixed(NUMBERS + WORDS, 2, 1, 5),
        mixed(NUMBERS + WORDS, 2, 2, 6),
        mixed(NUMBERS, 2, 2, 5),
        mixed(WORDS, 2, 2, 5),
        mixed(None, 2, 2, 5),
        mixed(None, 0, 0, 0),
        mixed([], 0, 0, 0),
        mixed(NUMBERS + WORDS, 2, 2, 5, x_num={"dtype": "float32"}),
        mixed(NUMBERS + WORDS, 2, 2, 5, x_cat={"dtype": "uint8"}),
        mixed(NUMBERS + WORDS, 2, 2, 5, x_hat_prob={"dtype": "float64"}),
        mixed(NUMBERS + WORDS, 2, 2, 5, x_hat_num={"shape": [None, 3]}),
        mixed(NUMBERS + WORDS, 2, 2, 5, x_hat_cat={"shape": [None, 2, 1]}),
    ],
)
def test_mixed_ports_that_do_not_fit_the_columns(
    table_bundle: Path, rewrite: Rewrite, edit: Edit
) -> None:
    assert said(BundleCorrupt, rewrite(table_bundle, edit=edit)) == FIT


@pytest.mark.parametrize(
    ("port", "change"),
    [
        ("x_num", {"name": "x"}),
        ("x_cat", {"name": "x_num"}),
        ("x_hat_prob", {"name": "x_hat"}),
        ("x_num", {"shape": [2]}),
        ("x_cat", {"shape": [None, None]}),
    ],
)
def test_mixed_ports_of_other_names_or_shapes(
    table_bundle: Path, rewrite: Rewrite, port: str, change: dict[str, Any]
) -> None:
    edit = mixed(NUMBERS + WORDS, 2, 2, 5, **{port: change})
    assert said(BundleCorrupt, rewrite(table_bundle, edit=edit)) == PORTS


def test_half_a_mixed_table_is_refused(table_bundle: Path, rewrite: Rewrite) -> None:
    def edit(fields: dict[str, Any]) -> None:
        outputs = fields["outputs"]
        mixed(NUMBERS + WORDS, 2, 2, 5)(fields)
        fields["outputs"] = outputs

    assert said(BundleCorrupt, rewrite(table_bundle, edit=edit)) == PORTS


def test_quality_that_nobody_knows(table_bundle: Path, rewrite: Rewrite) -> None:
    x = np.random.default_rng(0).standard_normal((5, 6))
    unknown = ae_runtime.load(rewrite(table_bundle, edit=with_field("quality", None)))
    assert unknown.manifest.quality is None
    np.testing.assert_array_equal(unknown.encode(x), ae_runtime.load(table_bundle).encode(x))


def test_what_windows_were_cut_from(table_bundle: Path, rewrite: Rewrite) -> None:
    series = {"channels": ["temperature", "hum"], "stride": 4, "window": 9}  # the last is newer
    found = ae_runtime.load(rewrite(table_bundle, edit=with_field("series", series))).manifest
    assert found.series == manifest.Series(["temperature", "hum"], 4)
    assert (found.series.min, found.series.max) == (None, None)
    ends = {"min": [-3.5, None], "max": [40, None]}
    found = ae_runtime.load(rewrite(table_bundle, edit=with_field("series", ends))).manifest
    assert found.series == manifest.Series(min=[-3.5, None], max=[40.0, None])


def test_what_is_written_is_read(table_bundle: Path) -> None:
    raw = (table_bundle / "manifest.json").read_bytes()
    parsed = manifest.parse(raw)
    written = manifest.dump(parsed)
    again = manifest.parse(written)
    assert manifest.dump(again) == written
    # The hash is another one: fields that this older bundle lacks are written as null.
    assert msgspec.structs.replace(again, manifest_sha256=parsed.manifest_sha256) == parsed
    fields, older = msgspec.json.decode(written), msgspec.json.decode(raw)
    added = {name for name in fields["quality"] if name not in older["quality"]}
    assert added == {"range_error", "pca_range_error", "accuracy", "pca_accuracy", "gain"}
    for name in added:
        assert fields["quality"].pop(name) is None
    assert fields.pop("resized") is False
    assert fields.pop("reading") is None
    assert fields.pop("scores") is None
    assert fields.pop("step_scores") is None
    assert fields.pop("step_threshold") is None
    assert fields.pop("sampler") is None
    assert fields["latent"].pop("curve") is None
    del fields["manifest_sha256"], older["manifest_sha256"]
    assert fields == older


def test_column_names(table_bundle: Path) -> None:
    parsed = ae_runtime.load(table_bundle).manifest
    assert parsed.column_names == ["far", "tiny", "gaps", "constant", "empty", "count"]
    unnamed = ae_runtime.load(table_bundle.parent / "float32").manifest
    assert len(unnamed.columns or []) == 3
    assert unnamed.column_names is None
    assert ae_runtime.load(table_bundle.parent / "image").manifest.column_names is None
