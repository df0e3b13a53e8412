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
from ae_runtime import manifest
from ae_runtime.errors import AeError, BundleCorrupt, BundleTooNew

Rewrite = Callable[..., Path]
NO_JSON = "manifest.json is not valid JSON ({}); export again"
PORTS = (
    "manifest.json: {} must be one {} with a shape of null and sizes; "
    "update ae-toolkit or export again"
)


def said(error: type[AeError], bundle: Path) -> str:
    """The message of loading, the bundle's folder written as B."""
    with pytest.raises(AeError) as caught:
        ae_runtime.load(bundle)
    assert type(caught.value) is error
    return str(caught.value).replace(f"{bundle}: ", "B: ")


def with_field(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
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
                "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
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
    message = said(BundleCorrupt, bundle)
    assert message.startswith("B: manifest.json is not valid JSON (maximum recursion depth ") or (
        message == "B: manifest.json does not match its own hash; fetch or export it again"
    )
    assert depth < 100_000 or "recursion" in message


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
        ("outputs.0.shape.1", -6, "Expected `int` >= 1 - at `$.outputs[0].shape[1]`"),
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
        ("series", {"window": 5}, "Expected `null`, got `object` - at `$.series`"),
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
    assert said(BundleCorrupt, bundle) == f"B: {PORTS.format(which, name)}"


def test_what_is_written_is_read(table_bundle: Path) -> None:
    raw = (table_bundle / "manifest.json").read_bytes()
    parsed = manifest.parse(raw)
    assert manifest.parse(manifest.dump(parsed)) == parsed
    assert manifest.dump(parsed) == raw
    assert msgspec.json.decode(raw) == msgspec.to_builtins(parsed)


def test_column_names(table_bundle: Path) -> None:
    parsed = ae_runtime.load(table_bundle).manifest
    assert parsed.column_names == ["far", "tiny", "gaps", "constant", "empty", "count"]
    unnamed = ae_runtime.load(table_bundle.parent / "float32").manifest
    assert len(unnamed.columns or []) == 3
    assert unnamed.column_names is None
    assert ae_runtime.load(table_bundle.parent / "image").manifest.column_names is None
