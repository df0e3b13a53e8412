"""Format 1 loads for ever: stored bundles give the numbers that they gave when they were made."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.errors import BundleCorrupt
from ae_runtime.machine.doctor import examine
from ae_runtime.machine.golden import Check, golden_check

Rewrite = Callable[..., Path]
# What the bundles were when each was new. They are never made again: a change that needs other
# files here is a change that breaks the bundles which people have.
FROZEN = {
    "table": "6ee28626341828d519e06af4950de2a4882bf3bb98503509dc0abd1115e62f45",
    "float32": "a3df120ccb1a2c8c68142790fd80459caea8ea1e460592bff7a91ea679b61fbc",
    "image": "c7ecda81c0916709260d697d192a4aa4e05214495c18ea8b3244d0b8181fbd1a",
}
LATER = {
    "mixed": "428c9cb41069e0b63bfc84c179ede074ae342a5d192f19e8c81011291263c89a",
    "gru": "5464a565cac28efa358af90dfb9e133a4a062361a43cd2a664f621ea11e7cb46",
    "int8": "a9b188d2592e75500253be092e49601695001bebcf46d6b1a706c3839685f357",
    "scored": "75a4b706de0a5953f9cae1198892820db65371cc21b461792a3a43d720bfa8fe",
    "scored_mixed": "9a66c36a8a4708efd1d2c065068fa8d47cbad90d42aeca9294df4980a0f473c7",
    "scored_series": "81dbc113e64d1224108548554c0e2dde4507eea6d038a5df9e12d83e79271dce",
    "scored_image": "fa8877ce1054a3ec3707d50bd031b36a5cc6e033a375c3465ef276f9811a8dd8",
}


@pytest.fixture(params=[*FROZEN, "digits"])
def bundle(request: pytest.FixtureRequest, table_bundle: Path, digits_bundle: Path) -> Path:
    return digits_bundle if request.param == "digits" else table_bundle.parent / request.param


@pytest.fixture(autouse=True)
def _telemetry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported onnxruntime first, and doctor would say so.
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")


def stored(bundle: Path) -> dict[str, np.ndarray]:
    with np.load(bundle / "golden.npz") as golden:
        return dict(golden)


def packed(golden: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The files of a bundle that change with its golden vectors."""
    buffer = io.BytesIO()
    np.savez(buffer, **golden)
    return {"golden.npz": buffer.getvalue()}


def found_of(ae: ae_runtime.Autoencoder, name: str) -> Check:
    return next(check for check in examine(ae.model) if check.name == f"golden {name}")


def test_the_stored_bundles_are_those_of_format_1(golden_bundle: Path) -> None:
    fields = json.loads((golden_bundle / "manifest.json").read_bytes())
    assert fields["format"] == "1.0"
    assert fields["manifest_sha256"] == FROZEN[golden_bundle.name]
    assert {f.name for f in golden_bundle.parent.iterdir() if f.is_dir()} == {*FROZEN, *LATER}


@pytest.mark.parametrize("name", LATER)
def test_bundles_of_later_days_are_as_they_were_and_give_what_they_gave(
    table_bundle: Path, name: str, request: pytest.FixtureRequest
) -> None:
    bundle = table_bundle.parent / name
    if name.startswith("scored"):
        request.getfixturevalue("sampling")
    assert json.loads((bundle / "manifest.json").read_bytes())["manifest_sha256"] == LATER[name]
    golden = [c for c in examine(ae_runtime.load(bundle).model) if c.name.startswith("golden")]
    scored = name.startswith("scored")
    assert len(golden) == (4 if "mixed" in name else 2) + 3 * scored
    assert all(check.ok for check in golden), golden


def test_stored_answers_are_given_again(bundle: Path) -> None:
    ae, golden = ae_runtime.load(bundle), stored(bundle)
    tolerance = ae.manifest.golden.tolerance
    assert len(golden["x"]) == ae.manifest.golden.rows == 32
    assert tolerance <= 1e-5  # more would let a wrong graph pass
    for found, name in ((ae.encode(golden["x"]), "z"), (ae.decode(golden["z"]), "x_hat")):
        expected, allowed = golden[name], tolerance * golden[f"{name}_deviation"]
        assert found.dtype == expected.dtype
        if expected.dtype.kind == "u":
            # Elsewhere, a value next to a half may be rounded to its other side: one in thousands.
            difference = np.abs(found.astype(int) - expected.astype(int))
            assert difference.max() <= 1
            assert difference.mean() < 1e-3
            continue
        # One unit in the last place of the output: x_hat is stored in the output's own dtype.
        allowed = allowed + np.spacing(np.abs(np.nan_to_num(expected)))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert (np.abs(np.nan_to_num(found - expected)) <= allowed).all()


def test_the_doctor_finds_nothing_wrong(bundle: Path) -> None:
    checks = examine(ae_runtime.load(bundle).model)
    scores = ("golden parts", "golden scores", "golden sampler") if bundle.name == "digits" else ()
    assert [check.name for check in checks] == [
        *("machine", "onnxruntime", "numpy", "provider", "threads", "telemetry", "memory"),
        *("golden encoder", "golden decoder", *scores, "batches"),
        *("speed encode", "speed decode"),
    ]
    assert [check.name for check in checks if not check.ok] == []
    assert checks[3].found == "CPUExecutionProvider"
    assert checks[8].found.startswith("32 golden rows, largest difference ")


@pytest.mark.parametrize(("output", "name"), [("z", "encoder"), ("x_hat", "decoder")])
def test_an_altered_vector_is_found(
    table_bundle: Path, rewrite: Rewrite, output: str, name: str
) -> None:
    golden = stored(table_bundle)
    golden[output] = golden[output].astype(np.float64)
    # The graphs themselves are at most 1e-6 of a deviation off, as the doctor says.
    golden[output][5, 1] += 0.5e-5 * golden[f"{output}_deviation"][1]
    assert found_of(ae_runtime.load(rewrite(table_bundle, packed(golden))), name).ok
    golden[output][5, 1] += 1e-5 * golden[f"{output}_deviation"][1]
    wrong = found_of(ae_runtime.load(rewrite(table_bundle, packed(golden))), name)
    assert not wrong.ok
    assert wrong.found == (
        "32 golden rows, largest difference 1.5e-05 of a deviation; row 5 is past 1e-05"
    )


def test_integers_may_be_one_off_and_not_two(digits_bundle: Path, rewrite: Rewrite) -> None:
    golden = stored(digits_bundle)
    golden["x_hat"][3, 4, 4] += 1  # 8-bit pixels of digits are at most 16
    assert found_of(ae_runtime.load(rewrite(digits_bundle, packed(golden))), "decoder").ok
    golden["x_hat"][3, 4, 4] += 1
    wrong = found_of(ae_runtime.load(rewrite(digits_bundle, packed(golden))), "decoder")
    assert not wrong.ok
    assert wrong.found.endswith("; row 3 is past 1e-05")


@pytest.mark.parametrize("swap", ["found", "expected"])
def test_nan_on_one_side_only_is_wrong(swap: str) -> None:
    values = {"found": np.zeros((2, 2)), "expected": np.zeros((2, 2))}
    assert golden_check("x", values["found"], values["expected"], np.ones(2), 1e-5).ok
    values[swap][1, 0] = np.nan
    wrong = golden_check("x", values["found"], values["expected"], np.ones(2), 1e-5)
    assert (wrong.ok, wrong.found) == (
        False,
        "2 golden rows, largest difference 0.0e+00 of a deviation; row 1 is past 1e-05",
    )
    both = np.full((2, 2), np.nan)
    assert golden_check("x", both, both, np.ones(2), 1e-5).ok


def drop_rows(golden: dict[str, Any]) -> dict[str, bytes]:
    return packed({**golden, "z": golden["z"][:1]})


def drop_z(golden: dict[str, Any]) -> dict[str, bytes]:
    return packed({name: golden[name] for name in golden if name != "z"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # One row would be repeated by numpy and agree with nothing, or with everything.
        (drop_rows, "golden.npz does not hold 32 rows of the bundle; export again"),
        (
            drop_z,
            "golden.npz cannot be read ('z is not a file in the archive'); export again",
        ),
        (
            lambda golden: {"golden.npz": packed(golden)["golden.npz"][:-40]},
            "golden.npz cannot be read (File is not a zip file); export again",
        ),
        (
            lambda golden: packed({**golden, "x_hat_deviation": np.ones(5)}),
            "golden.npz does not hold 32 rows of the bundle; export again",
        ),
    ],
)
def test_broken_golden_files_are_said(
    table_bundle: Path, rewrite: Rewrite, spoil: Callable[..., dict[str, bytes]], message: str
) -> None:
    ae = ae_runtime.load(rewrite(table_bundle, spoil(stored(table_bundle))))
    with pytest.raises(BundleCorrupt) as caught:
        examine(ae.model)
    assert str(caught.value) == message


def test_two_onnxruntimes_are_wrong(digits_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ae = ae_runtime.load(digits_bundle)
    installed = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.30.0", "numpy": "2.0.0"}
    monkeypatch.setattr("importlib.metadata.version", installed.__getitem__)
    assert examine(ae.model)[1] == Check(
        "onnxruntime",
        "onnxruntime 1.30.0, onnxruntime-gpu 1.30.0; both installed: remove one",
        False,
    )


def test_the_command_ends_with_1_when_a_check_is_wrong(
    table_bundle: Path, rewrite: Rewrite
) -> None:
    golden = stored(table_bundle)
    golden["z"][7] += 1
    altered = rewrite(table_bundle, packed(golden))

    def doctor(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
        code = "from ae_runtime.cli import main; main()"
        command = [sys.executable, "-c", code, "doctor", str(bundle), *options]
        return subprocess.run(command, capture_output=True, text=True)

    right, wrong, as_json = doctor(table_bundle), doctor(altered), doctor(altered, "--json")
    assert (right.returncode, right.stderr) == (0, "")
    assert {line[:5] for line in right.stdout.splitlines()} == {"ok   "}
    assert wrong.returncode == 1
    assert wrong.stderr == (
        "ae-run: 2 of 12 checks are wrong: golden encoder, golden decoder\n"  # decodes that z
    )
    assert [line[7:21] for line in wrong.stdout.splitlines() if line.startswith("WRONG")] == [
        *("golden encoder", "golden decoder")
    ]
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["golden encoder"]["ok"] is False
    assert json.loads(as_json.stdout)["numpy"] == {"found": np.__version__, "ok": True}
