"""int8 through export: what it costs, when it is taken, and when it is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ae_export import Exported, building, export, precision
from ae_export.export_source import ExportSource, Graphs, source_of_run
from ae_runtime import load
from ae_runtime.errors import AeError, RunError, VerificationFailed
from ae_runtime.machine import doctor
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.data.loading import load_digits
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

BUDGET = 0.02


class Int8(NamedTuple):
    """A run, its bundle in int8, and what was said when it was written."""

    run: Run
    data: Dataset
    exported: Exported
    said: list[str]

    @property
    def files(self) -> dict[str, bytes]:
        return files_of(self.exported.location)


def files_of(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def recipe(arch: str, width: int, epochs: int) -> dict[str, Any]:
    return {
        "latent_dim": 6,
        "arch": {"name": arch, "width": width, "depth": 2, "dropout": 0.0},
        "fit": {"epochs": epochs, "keep": "last", "lr": 3e-3},
        "score": {"name": "none"},  # it is in fp32 always
    }


@pytest.fixture(scope="module")
def int8(
    tmp_path_factory: pytest.TempPathFactory, make_rows: Callable[[str], Dataset]
) -> Callable[[str], Int8]:
    """An export in int8 by its name, made when it is first asked for."""
    known: dict[str, Int8] = {}

    def get(name: str) -> Int8:
        if name not in known:
            data = make_rows("mixed") if name == "mixed" else make_digits()
            arch = ("conv", 12, 4) if name == "conv" else ("dense", 160, 12)
            folder, said = tmp_path_factory.mktemp(name), []
            run = train(data, make_recipe(recipe(*arch)), folder / "run")
            exported = export(run, folder / "int8", precision="int8", say=said.append)
            known[name] = Int8(run, data, exported, said)
        return known[name]

    return get


def make_digits() -> Dataset:
    return make_dataset(load_digits())


NAMES = ["digits", "conv", "mixed"]


def said_of(exported: Exported, taken: str, budget: float = BUDGET) -> str:
    weighed = exported.weighed
    assert weighed is not None
    return (
        f"{taken} taken: int8 is {weighed.speedup:.2f} times as fast as fp32 here, and its "
        f"reconstruction error {100 * weighed.rise:+.2f} % ({100 * budget:g} % allowed)"
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_is_smaller_and_says_what_it_is(name: str, int8: Callable[[str], Int8]) -> None:
    run, _, exported, said = int8(name)
    ae = load(exported.location)
    weights = sum(p.numel() for p in run.model.parameters())
    graphs = [int8(name).files[f"{which}.onnx"] for which in ("encoder", "decoder")]
    assert sum(map(len, graphs)) < 0.6 * 4 * weights
    assert exported.precision == ae.manifest.precision == "int8"
    assert exported.model_id == ae.model_id == run.model_id
    assert "Precision: int8." in int8(name).files["README.md"].decode()
    assert ae.manifest.golden.tolerance == 0.01
    assert ae.manifest.golden.rows == 32
    assert all(check.ok for check in doctor.examine(ae.model))
    assert said[-2:] == [
        f"quantizing with the ranges of {len(run.calibration[0]):,} training rows ...",
        said_of(exported, "int8"),
    ]


def mean_squared(run: Run, x: Any, x_hat: Any) -> float:
    """Of numbers in deviations of the training rows, and of the chances of words."""
    deviation = np.array(run.schema.x_std)
    errors = [((x_hat[0].astype(np.float64) - x[0]) / deviation).ravel()]
    if run.schema.levels:
        true = [np.eye(n)[x[1][:, at]] for at, n in enumerate(run.schema.levels)]
        known = np.repeat(x[1] >= 0, run.schema.levels, axis=1)
        errors.append((x_hat[2] - np.concatenate(true, 1))[known])
    every = np.concatenate(errors)
    return float(np.nanmean(every**2))


@pytest.mark.parametrize("name", NAMES)
def test_its_error_is_within_the_budget(name: str, int8: Callable[[str], Int8]) -> None:
    run, _, exported, _ = int8(name)
    x, ae, model = run.probe, load(exported.location), run.model
    with torch.no_grad():
        x_hat = model.decode(model.encode(*map(torch.from_numpy, x)))
    parts = x_hat if isinstance(x_hat, tuple) else (x_hat,)
    fp32 = mean_squared(run, x, [part.numpy() for part in parts])
    rise = mean_squared(run, x, ae.model.decode(ae.model.encode(*x))) / fp32 - 1
    assert exported.weighed is not None
    # Torch may round a pixel otherwise than the graphs in fp32 do.
    assert exported.weighed.rise == pytest.approx(rise, abs=1e-4)
    assert rise <= BUDGET


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_influence_each_other(name: str, int8: Callable[[str], Int8]) -> None:
    run, data, exported, _ = int8(name)
    x, ae = data.take(run.split.test[:90]), load(exported.location)
    z = ae.model.encode(*x)
    x_hat = ae.model.decode(z)
    for batch in (1, 7, 64):
        starts = range(0, len(z), batch)
        parts = [ae.model.encode(*(p[i : i + batch] for p in x)) for i in starts]
        np.testing.assert_array_equal(np.concatenate(parts), z)
        rows = [ae.model.decode(z[i : i + batch]) for i in starts]
        for at, expected in enumerate(x_hat):
            np.testing.assert_array_equal(np.concatenate([row[at] for row in rows]), expected)


def test_another_process_writes_the_same_bytes(int8: Callable[[str], Int8], tmp_path: Path) -> None:
    run, _, exported, _ = int8("digits")
    arguments = [str(run.folder), "--out=bundle", "--precision=int8", "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", "from ae_export.cli import main; main()", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert files_of(tmp_path / "bundle") == int8("digits").files
    fields = json.loads(done.stdout)
    assert exported.weighed is not None
    assert fields.pop("int8_speedup") > 0
    assert fields == {
        "bundle": "bundle",
        "model_id": run.model_id,
        "bytes": exported.bytes,
        "precision": "int8",
        "encoder_error": exported.agreement.encoder,
        "decoder_error": exported.agreement.decoder,
        "int8_error_rise": exported.weighed.rise,
    }


@pytest.mark.usefixtures("_traced")
def test_golden_rows_of_int8_are_no_rows_of_the_data_unless_asked_for(
    int8: Callable[[str], Int8], tmp_path: Path
) -> None:
    run, data, exported, _ = int8("digits")
    known = {row.tobytes() for row in data.parts[0]}
    export(run, tmp_path / "real", precision="int8", golden="real")
    for bundle, real in ((exported.location, 0), (tmp_path / "real", 32)):
        with np.load(bundle / "golden.npz") as golden:
            assert sum(row.tobytes() in known for row in golden["x"]) == real
            z = load(bundle).encode(golden["x"])
            # Half of the tolerance: roundings of this machine were already taken out.
            assert np.abs(z - golden["z"]).max() <= 0.005 * golden["z_deviation"].max()


@pytest.fixture(scope="module")
def fp32(int8: Callable[[str], Int8], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of digits in fp32."""
    out = tmp_path_factory.mktemp("fp32") / "bundle"
    exported = export(int8("digits").run, out)
    assert (exported.precision, exported.weighed) == ("fp32", None)
    assert exported.model_id == int8("digits").exported.model_id
    return files_of(out)


@pytest.fixture
def _traced(fp32: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits are not traced again."""
    graphs = Graphs(fp32["encoder.onnx"], fp32["decoder.onnx"])
    monkeypatch.setattr(building, "trace_both", lambda source: graphs)


def test_it_takes_less_than_half_of_fp32(
    int8: Callable[[str], Int8], fp32: dict[str, bytes]
) -> None:
    found = int8("digits").files
    assert len(found["encoder.onnx"]) < 0.5 * len(fp32["encoder.onnx"])
    assert len(found["decoder.onnx"]) < 0.5 * len(fp32["decoder.onnx"])
    assert found["recipe.toml"] == fp32["recipe.toml"]


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize(
    ("speedup", "budget", "taken"),
    [(1.05, BUDGET, "fp32"), (1.06, BUDGET, "int8"), (9.0, -1.0, "fp32")],
)
def test_auto_takes_what_is_faster_within_the_budget(
    speedup: float,
    budget: float,
    taken: str,
    int8: Callable[[str], Int8],
    fp32: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_speedup", lambda *arguments: speedup)
    said: list[str] = []
    run = int8("digits").run
    out = tmp_path / "bundle"
    exported = export(run, out, precision="auto", budget=budget, say=said.append)
    assert exported.precision == taken
    assert exported.weighed is not None
    assert (exported.weighed.speedup, exported.weighed.taken) == (speedup, taken == "int8")
    assert exported.weighed.rise == int8("digits").exported.weighed.rise
    assert said[-1] == said_of(exported, taken, budget)
    assert files_of(out) == (fp32 if taken == "fp32" else int8("digits").files)


def refusal(run: Run, out: Path, **options: Any) -> AeError:
    """What is raised, and nothing written."""
    with pytest.raises(AeError) as caught:
        export(run, out, **options)
    assert not [path for path in out.parent.iterdir() if path.name != "run"]
    return caught.value


@pytest.mark.usefixtures("_traced")
def test_past_the_budget_is_refused(int8: Callable[[str], Int8], tmp_path: Path) -> None:
    run, _, exported, _ = int8("digits")
    assert exported.weighed is not None
    said: list[str] = []
    error = refusal(run, tmp_path / "bundle", precision="int8", budget=-1, say=said.append)
    assert isinstance(error, VerificationFailed)
    assert said[-1].startswith("quantizing ")  # and nothing of what was taken
    assert str(error) == (
        f"int8 raises the reconstruction error by {100 * exported.weighed.rise:.2f} %, the budget "
        "is -100 %; allow more, or export as fp32; nothing was written"
    )


def test_without_a_large_layer_there_is_nothing_to_quantize(
    any_case: Callable[[str], Any], tmp_path: Path
) -> None:
    case, said = any_case("float32"), []
    message = (
        "no layer of the graph is large enough for int8: found 2 beside activations, with sums of "
        "at most 16 products"
    )
    error = refusal(case.run, tmp_path / "bundle", precision="int8")
    assert (type(error), str(error)) == (VerificationFailed, f"{message}; export as fp32")
    exported = export(case.run, tmp_path / "bundle", precision="auto", say=said.append)
    assert said[-1] == f"fp32 taken: {message}"
    assert (exported.precision, exported.weighed) == ("fp32", None)
    assert files_of(tmp_path / "bundle") == case.files


def test_rows_that_would_influence_each_other_are_no_choice(
    int8: Callable[[str], Int8],
    fp32: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = precision.Pair.encode

    def of_the_batch(pair: Any, parts: Any, batch: int) -> np.ndarray:
        return encode(pair, parts, batch) + np.float32(batch == 7)

    monkeypatch.setattr(precision.Pair, "encode", of_the_batch)
    with pytest.raises(VerificationFailed) as caught:
        precision._check_batches(*known_graphs(int8("digits"), fp32))
    message = "the int8 graphs give other numbers for other batch sizes"
    assert str(caught.value) == f"{message}; export as fp32; nothing was written"
    said: list[str] = []
    chosen, weighed = precision.choose(
        *known_graphs(int8("digits"), fp32), "auto", BUDGET, said.append
    )
    assert said[-1] == f"fp32 taken: {message}"
    assert (chosen.encoder, weighed) == (fp32["encoder.onnx"], None)


def known_graphs(known: Int8, files: dict[str, bytes]) -> tuple[ExportSource, Graphs]:
    return source_of_run(known.run), Graphs(files["encoder.onnx"], files["decoder.onnx"])


def test_a_run_of_an_earlier_version_has_no_rows_for_it(
    any_case: Callable[[str], Any], tmp_path: Path
) -> None:
    case = any_case("float32")
    shutil.copytree(case.run.folder, tmp_path / "run")
    np.savez(tmp_path / "run" / "probe.npz", x=case.run.probe[0])
    error = refusal(Run.load(tmp_path / "run"), tmp_path / "bundle", precision="auto")
    assert type(error) is RunError
    assert str(error) == (
        "this run holds no training rows to find the ranges of int8 with, since an earlier version "
        "made it; train again, or export as fp32"
    )
