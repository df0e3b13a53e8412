"""The same bundles under old and new onnxruntime, in Python, Node and wasm: how far they differ.

python benchmarks/portability.py
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ae_export import export
from ae_export.sampling import latents
from ae_export.scoring import score_rows
from ae_runtime.bundle.manifest import Column, Manifest, Port, parse
from ae_train import Run, train
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.network.scorer import NAMES as SCORES
from ae_train.recipe import make_recipe

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]  # by the names of outputs

SCRIPTS = Path(__file__).parent / "portability"
BUILD = Path(__file__).parent.parent / "build"
NEWEST = "Python"
HOSTS: dict[str, tuple[str | Path, ...]] = {
    "Python, old": (BUILD / "oldest" / "bin" / "python", SCRIPTS / "run.py"),
    NEWEST: (BUILD / "runtime" / "bin" / "python", SCRIPTS / "run.py"),
    "Node": ("node", BUILD / "node" / "run.mjs", "onnxruntime-node"),
    "wasm": ("node", BUILD / "node" / "run.mjs", "onnxruntime-web"),
}
WORDS = "x_hat_cat"
SCORED = "parts", "scores"
DRAWN = "drawn"  # latents that the sampler makes of noise
BATCHES = 10_000, 7  # all rows in one, and a few
LIMIT, INT8_LIMIT = 1e-5, 1e-2  # of a deviation, as golden rows are checked
# Of a score or of 1: where errors are small, the whitened one is a hundred times what x_hat is off.
SCORE_LIMIT = 1e-4
TIMEOUT_S = 300
ROWS = 600


def table() -> Dataset:
    """(ROWS, 8) float64: far from zero, tiny, huge, with gaps, constant, whole numbers."""
    random = np.random.default_rng(1)
    u, v, w = random.standard_normal((3, ROWS))
    columns = {
        "far": 1e6 + u,
        "farther": -3e9 + 3e3 * v,
        "tiny": 1e-20 * u * v,
        "huge": 5e9 * np.sin(2 * u),
        "gaps": np.where(random.random(ROWS) < 0.2, np.nan, u + v),
        "constant": np.full(ROWS, 1 / 3),
        "count": np.rint(20 * w),
        "mean": u * w,
    }
    described = [Column(name, integer=name == "count") for name in columns]
    return make_dataset(np.stack([*columns.values()], 1), "table", described)


def mixed() -> Dataset:
    """(ROWS, 3) float64 numbers and (ROWS, 2) words, both with gaps."""
    random = np.random.default_rng(2)
    u, v = random.standard_normal((2, ROWS))
    numbers = np.stack([1e6 + u, 3 * v, np.rint(20 * u * v)], 1)
    numbers[::9, 1] = np.nan
    codes = np.stack([(u > 0).astype(int) + (v > 0), u * v > 0], 1).astype(np.int32)
    codes[::11, 0] = -1
    columns = [
        Column("a"),
        Column("b"),
        Column("c", integer=True),
        Column("d", type="category", levels=["p", "q", "r"]),
        Column("e", type="boolean", levels=["no", "yes"]),
    ]
    return make_dataset(numbers, "table", columns, codes=codes)


def images() -> Dataset:
    """(ROWS, 8, 8, 3) uint8: a spot anywhere, each colour of its own strength."""
    u, v = np.random.default_rng(3).uniform(0, 7, (2, ROWS, 1, 1, 1))
    y, x = np.arange(8)[:, None, None], np.arange(8)[:, None]
    spot = np.exp(-((y - u) ** 2 + (x - v) ** 2) / 4)
    return make_dataset(np.rint(spot * [100, 160, 250]).astype(np.uint8))


def waves() -> Dataset:
    """(ROWS, 16, 2) float32: windows of two waves."""
    random = np.random.default_rng(4)
    angle = random.uniform(0, 6, (ROWS, 1)) + random.uniform(0.3, 1, (ROWS, 1)) * np.arange(16)
    x = np.stack([np.sin(angle), 5 * np.cos(angle)], 2)
    return make_dataset(x.astype(np.float32), "series")


MODELS: dict[str, tuple[Callable[[], Dataset], dict[str, Any]]] = {
    "table": (table, {"name": "dense", "width": 128, "depth": 2}),
    "mixed": (mixed, {"name": "dense", "width": 64, "depth": 2}),
    "image": (images, {"name": "conv", "width": 16, "depth": 2}),
    "series": (waves, {"name": "gru", "width": 32}),
}
INT8 = "table", "image"  # these once more in int8


@dataclass(frozen=True)
class Case:
    """A bundle, the run that it is of, its held-out rows, and the model's answers in float64.

    rows: a folder of raw arrays, one for each input, and noise.
    """

    name: str
    bundle: Path
    run: Run
    rows: Path
    expected: Arrays

    @property
    def manifest(self) -> Manifest:
        return parse((self.bundle / "manifest.json").read_bytes())

    @property
    def is_int8(self) -> bool:
        return self.manifest.precision == "int8"


@dataclass(frozen=True)
class Found:
    """What a host gives for a case, and which onnxruntime it has on what.

    whole, few: outputs from one batch of all rows, and from batches of a few.
    """

    whole: Arrays
    few: Arrays
    onnxruntime: str
    on: str

    @property
    def is_batch_free(self) -> bool:
        """Whether the size of a batch changes no bit of what is computed of rows."""
        return all(
            self.few[name].tobytes() == x.tobytes()
            for name, x in self.whole.items()
            if name != DRAWN
        )


@dataclass(frozen=True)
class Difference:
    """How far outputs are from others at most, and how many of them jump.

    numbers: in deviations. step: of whole numbers. whole, words: how many differ.
    """

    numbers: float = 0.0
    step: float = 0.0
    whole: int = 0
    words: int = 0

    def __or__(self, other: Difference) -> Difference:
        """The worse of both."""
        return Difference(*map(max, astuple(self), astuple(other)))


@click.command()
def main() -> None:
    """Train, export, run with each host, and compare."""
    shutil.copy(SCRIPTS / "run.mjs", BUILD / "node")  # Node looks for packages beside the script
    with tempfile.TemporaryDirectory() as work:
        cases = [case for name in MODELS for case in make(name, Path(work))]
        cases.sort(key=lambda case: case.manifest.precision)  # fp32 first
        found = [{host: run_host(host, case) for host in HOSTS} for case in cases]
        problems = show(cases, found)
    if problems:
        raise click.ClickException("\n".join(["past the limits", *problems]))


def make(name: str, work: Path) -> list[Case]:
    """The bundles of a model that is trained here."""
    data, arch = MODELS[name]
    settings = {"data": {"test": 0.25}, "fit": {"epochs": 10, "batch": 32, "lr": 5e-3}}
    run = train(data(), make_recipe({"latent_dim": 4, "arch": arch, **settings}))
    if run.schema.quality.is_pca:
        raise click.ClickException(f"{name}: training found nothing better than PCA")
    expected, rows, cases = answers(run), work / f"{name}-rows", []
    for precision in ("fp32", "int8") if name in INT8 else ("fp32",):
        bundle = work / f"{name}-{precision}"
        written = export(run, bundle, precision=precision, budget=1.0)
        title = f"{name}, {arch['name']}, {written.precision}"
        cases.append(Case(title, bundle, run, rows, expected))
    rows.mkdir()
    for port, part in zip(cases[0].manifest.inputs, run.probe, strict=True):
        part.tofile(rows / f"{port.name}.bin")
    noise_of(run).tofile(rows / "noise.bin")
    return cases


def noise_of(run: Run) -> Array:
    """Uniform noise for as many samples as there are held-out rows."""
    assert run.sampler is not None
    shape = len(run.probe[0]), run.sampler.noise_dim
    return np.random.default_rng(5).random(shape, np.float32)


def answers(run: Run) -> Arrays:
    """What the model gives for the held-out rows in float64, by the names of the outputs."""
    model = copy.deepcopy(run.model).double().eval()
    with torch.no_grad():
        z = model.encode(*map(torch.from_numpy, run.probe))
        x_hat = model.decode(z)
    names: tuple[str, ...] = ("x_hat",)
    if run.schema.form.is_mixed:
        names = "x_hat_num", "x_hat_cat", "x_hat_prob"
    back = [part.numpy() for part in (x_hat if isinstance(x_hat, tuple) else (x_hat,))]
    dtypes = run.schema.dtype, "int32", "float32"
    given = [part.astype(dtype) for part, dtype in zip(back, dtypes, strict=False)]
    assert run.scorer is not None
    assert run.sampler is not None
    _, parts, scores = score_rows(run.scorer, (*run.probe, z.numpy(), *given))
    found = {"z": z.numpy(), **dict(zip(names, back, strict=True))}
    return found | {
        "parts": parts,
        "scores": scores,
        DRAWN: latents(run.sampler, noise_of(run)),
    }


def run_host(host: str, case: Case) -> Found:
    whole, few = (run_once(host, case, batch) for batch in BATCHES)
    return Found(whole[0], few[0], **whole[1])


def run_once(host: str, case: Case, batch: int) -> tuple[Arrays, dict[str, str]]:
    """The outputs for all rows, and what the host says of itself."""
    out = Path(tempfile.mkdtemp(dir=case.bundle.parent))
    words = [str(word) for word in (*HOSTS[host], case.bundle, case.rows, out, batch)]
    env = {"PATH": os.environ["PATH"], "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or "")[-2000:]
        raise click.ClickException(
            f"{host} cannot run {case.bundle.name}: {error}\n{said}"
        ) from None
    arrays = {}
    scored = [port for port in case.manifest.scorer_fetches if port.name in SCORED]
    z = case.manifest.latent.port
    drawn = Port(DRAWN, z.dtype, z.shape)
    for port in (z, *case.manifest.outputs, *scored, drawn):
        values = np.fromfile(out / f"{port.name}.bin", port.dtype)
        arrays[port.name] = values.reshape(len(case.run.probe[0]), *port.row_shape)
    return arrays, json.loads(done.stdout.splitlines()[-1])


def show(cases: list[Case], found: list[dict[str, Found]]) -> list[str]:
    """Print the table. Returns a line for each difference that is past its limit."""
    problems: list[str] = []
    line("", *HOSTS)
    line("onnxruntime", *(each.onnxruntime for each in found[0].values()))
    print("largest difference to the model in float64")
    for case, hosts in zip(cases, found, strict=True):
        if not case.is_int8:
            problems += compare(case, hosts, case.expected, LIMIT)
    print(f"largest difference to {NEWEST} with onnxruntime {found[0][NEWEST].onnxruntime}")
    for case, hosts in zip(cases, found, strict=True):
        limit = INT8_LIMIT if case.is_int8 else LIMIT
        problems += compare(case, hosts, hosts[NEWEST].whole, limit)
    alone = [all(hosts[host].is_batch_free for hosts in found) for host in HOSTS]
    line(f"same bits in batches of {BATCHES[1]}", *("yes" if each else "no" for each in alone))
    print(
        "Latents and reconstructions in deviations, probabilities as they are, scores as shares of "
        "themselves or of 1. On"
    )
    for host, each in found[0].items():
        print(f"  {host}: {each.on}")
    return problems


def compare(case: Case, hosts: dict[str, Found], expected: Arrays, limit: float) -> list[str]:
    """Print the lines of a case. Returns a line for each host that is past the limit."""
    scores, samples = {name: expected[name] for name in SCORED}, {DRAWN: expected[DRAWN]}
    expected = {name: x for name, x in expected.items() if name not in (*SCORED, DRAWN)}
    differences = [difference(case, each, expected) for each in hosts.values()]
    line(case.name, *(f"{each.numbers:.1e}" if each.numbers else "0" for each in differences))
    whole = sum(x[..., scale_of(case.run, n)[1]].size for n, x in expected.items() if n != WORDS)
    if whole:
        line(f"  of {whole:,} whole numbers differ", *(each.whole for each in differences))
    if WORDS in expected:
        line(f"  of {expected[WORDS].size:,} words differ", *(each.words for each in differences))
    scored = [difference(case, each, scores).numbers for each in hosts.values()]
    line("  scores", *(f"{each:.1e}" if each else "0" for each in scored))
    drawn = [difference(case, each, samples).numbers for each in hosts.values()]
    line("  drawn latents", *(f"{each:.1e}" if each else "0" for each in drawn))
    return (
        [
            f"{case.name}, {host}: drawn latents differ by {each:.1e} (limit {LIMIT:g})"
            for host, each in zip(hosts, drawn, strict=True)
            if each > LIMIT
        ]
        + [
            f"{case.name}, {host}: scores differ by {each:.1e} (limit {SCORE_LIMIT:g})"
            for host, each in zip(hosts, scored, strict=True)
            if each > SCORE_LIMIT
        ]
        + [
            f"{case.name}, {host}: numbers differ by {each.numbers:.1e} of a deviation (limit "
            f"{limit:g}), whole numbers by {each.step:g} (limit 1), {each.words} words (limit 0)"
            for host, each in zip(hosts, differences, strict=True)
            if each.numbers > limit or each.step > 1 or each.words
        ]
    )


def line(label: str, *cells: object) -> None:
    print(f"{label:<36}" + "".join(f"{cell!s:>12}" for cell in cells), flush=True)


def difference(case: Case, found: Found, expected: Arrays) -> Difference:
    """The worst over all outputs and both sizes of a batch."""
    worst = Difference()
    for name, arrays in itertools.product(expected, (found.whole, found.few)):
        error = np.abs(arrays[name].astype(np.float64) - expected[name].astype(np.float64))
        error = np.where(np.isnan(error), np.inf, error)
        if name == WORDS:
            worst |= Difference(words=np.count_nonzero(error))
            continue
        unit, whole = scale_of(case.run, name)
        if name in SCORED:  # a row that is far out scores high: of itself
            unit = np.maximum(unit, np.abs(expected[name]))
        numbers, steps = (error / unit)[..., ~whole], error[..., whole]
        worst |= Difference(numbers.max(initial=0), steps.max(initial=0), np.count_nonzero(steps))
    return worst


def scale_of(run: Run, name: str) -> tuple[Array, Array]:
    """(C,) what an output is measured in, column by column, and which of them are whole numbers."""
    schema = run.schema
    if name in ("z", DRAWN):  # of all latents together: one that is nearly dead has no useful unit
        rms = np.sqrt(np.mean(np.square(schema.z_std)))
        return np.full(schema.latent_dim, rms), np.zeros(schema.latent_dim, bool)
    if name == "x_hat_prob":
        return np.ones(sum(schema.levels)), np.zeros(sum(schema.levels), bool)
    if name in SCORED:
        count = (
            len(SCORES) if name == "scores" else (len(schema.columns or ()) or schema.row_shape[-1])
        )
        return np.ones(count), np.zeros(count, bool)
    deviation = np.array(schema.x_std)
    integer = [column.integer for column in schema.columns or () if not column.levels]
    whole = np.array(integer or [schema.dtype == "uint8"] * len(deviation))
    return np.where(deviation > 0, deviation, 1), whole


if __name__ == "__main__":
    main()
