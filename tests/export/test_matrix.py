"""Every kind of rows with every network and bottleneck, against the model in float64."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch

from ae_export import export
from ae_runtime import load
from ae_runtime.autoencoder import Autoencoder
from ae_runtime.graphs.operators import OPERATORS
from ae_runtime.machine import doctor
from ae_train.data.dataset import Dataset
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

Array = np.ndarray
Parts = tuple[Array, ...]
TOLERANCE = 1e-5  # of a deviation, beside one unit in the last place: what a bundle promises
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}


class Combination(NamedTuple):
    """What is trained: rows by their name, a network, a bottleneck, and what else is set."""

    rows: str
    arch: str
    bottleneck: str
    note: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.rows, self.arch, self.bottleneck, self.note]))


TAKEN = {
    "mixed": ["dense"],
    "float64": ["dense"],
    "float32": ["dense"],
    "image": ["dense", "conv"],
    "series": ["dense", "conv", "gru"],
}
BOTTLENECKS = ["plain", "ordered", "sparse", "variational", "quantized"]
GRID = [
    Combination(rows, arch, bottleneck)
    for rows, archs in TAKEN.items()
    for arch in archs
    for bottleneck in BOTTLENECKS
]


def odd(rows: str, arch: str, bottleneck: str, /, **settings: Any) -> Combination:
    note = ", ".join(
        f"{key} {value}"
        for section in settings.values()
        for key, value in section.items()
        if (key, value) != ("code_activation", "none")
    )
    return Combination(rows, arch, bottleneck, note, settings)


def alone(activation: str, code_activation: str = "none") -> dict[str, Any]:
    """A network without the PCA path."""
    return {
        "pca_path": False,
        "activation": activation,
        "code_activation": code_activation,
    }


PCA = {"fit": {"epochs": 0, "objective": "mse"}}
ODD = [
    odd("float32", "dense", "plain", arch=alone("relu", "tanh")),
    odd("mixed", "dense", "variational", arch=alone("gelu")),
    odd("image", "conv", "plain", arch=alone("gelu", "sigmoid")),
    odd("image", "dense", "ordered", arch=alone("silu", "relu")),
    odd("series", "conv", "sparse", arch=alone("tanh", "relu")),
    odd("series", "gru", "quantized", arch=alone("silu")),
    odd("image", "conv", "plain", data={"scaling": "range"}, fit={"objective": "bce"}),
    odd(
        "image", "dense", "quantized",
        arch=alone("relu"), data={"scaling": "range"}, fit={"objective": "bce"},
    ),
    odd("float64", "dense", "plain", data={"scaling": "robust"}, arch={"activation": "tanh"}),
    odd("mixed", "dense", "sparse", data={"scaling": "robust"}, arch={"activation": "relu"}),
    odd("series", "gru", "plain", data={"scaling": "none"}, arch={"depth": 2}),
    odd("grey", "conv", "ordered", arch={"activation": "gelu"}),
    odd("octets", "dense", "plain", fit={"objective": "mae"}),
    odd("words", "dense", "plain"),
    *(odd(rows, "dense", "plain", **PCA) for rows in TAKEN if rows != "mixed"),
]  # fmt: skip
# Of the others, one for each kind of rows, network and bottleneck at least.
COMMON = [
    Combination("mixed", "dense", "plain"),
    Combination("mixed", "dense", "quantized"),
    Combination("float64", "dense", "ordered"),
    Combination("float32", "dense", "sparse"),
    Combination("image", "dense", "variational"),
    Combination("image", "conv", "quantized"),
    Combination("series", "dense", "plain"),
    Combination("series", "conv", "variational"),
    Combination("series", "gru", "sparse"),
]


def trained(combination: Combination, data: Dataset) -> Run:
    bottleneck = {"name": combination.bottleneck}
    if combination.bottleneck == "sparse":
        bottleneck["active"] = 2
    fields: dict[str, Any] = {
        "latent_dim": 3,
        # Tracing a layer of a GRU takes seconds.
        "arch": {"name": combination.arch, "width": 8, "depth": 1 + (combination.arch != "gru")},
        "bottleneck": bottleneck,
        # The last weights, for the best ones may be those of the start, which is PCA. And Huber's
        # loss, for a network that leaves more squared error than PCA is replaced by it.
        "fit": {"epochs": 4, "batch": 32, "lr": 1e-2, "keep": "last", "objective": "huber"},
    }
    # The scorer is the same whatever the network: each kind of rows has one, with a plain code.
    if combination.bottleneck != "plain" or combination.settings:
        fields["score"] = {"name": "none"}
    if data.form.is_mixed:
        fields["fit"]["objective"] = "mixed"
    for section, values in combination.settings.items():
        fields[section] = {**fields.get(section, {}), **values}
    return train(data, make_recipe(fields))


class Exact:
    """The model in float64, and the units of its latents and columns over the training rows."""

    def __init__(self, run: Run, data: Dataset) -> None:
        self.run = run
        self.model = copy.deepcopy(run.model).double().eval().requires_grad_(False)
        rows = data.take(run.split.train)
        self.z_unit = float(np.sqrt(self.encode(rows)[1].var(0).mean()))
        self.x_unit = deviations(rows[0], run.schema.kind)

    def encode(self, parts: Parts) -> tuple[Array, Array]:
        """The code before the bottleneck and behind it."""
        h = self.model.code(self.model.preprocess.scale_rows(*map(torch.from_numpy, parts)))
        return h.numpy(), self.model.bottleneck.encode(h).numpy()

    def decode(self, z: Array) -> tuple[Array, Array]:
        """Numbers in data units before they are rounded, and the chances of words."""
        y = self.model.objective.output(self.model.expand(torch.from_numpy(z).double())).numpy()
        model = self.model.preprocess
        numbers = getattr(model, "numbers", model)  # of a mixed table
        row_shape = self.run.schema.row_shape
        width = y.shape[1] if not self.run.schema.levels else row_shape[0]
        x_hat = y[:, :width] * numbers.scale.numpy() + numbers.offset.numpy()
        return x_hat.reshape(len(z), *row_shape), y[:, width:]


def deviations(x: Array, kind: str) -> Array:
    """Of each column of a table, channel of a series or image, over what is not missing."""
    rows = x.astype(np.float64)
    axes = (
        0 if kind == "table" else tuple(range(3 if x.ndim == 4 else 2 if kind == "series" else 3))
    )
    known = np.ma.masked_invalid(rows)
    found = np.ma.filled(known.std(axes), 0)
    return np.where(np.ma.filled(np.ptp(known, axes), 0) == 0, 0, found)


def last_place(found: Array) -> Array:
    return np.spacing(np.abs(np.nan_to_num(found))).astype(np.float64)


def check_latents(exact: Exact, h: Array, z: Array, found: Array) -> float:
    """The largest difference, in deviations of the latents, where none may jump."""
    settings = exact.run.recipe.bottleneck
    near = TOLERANCE * exact.z_unit
    assert found.dtype == np.float32
    if settings.name == "quantized":
        levels = settings.levels
        jumps = [NormalDist().inv_cdf(j / levels) for j in range(1, levels)]
        least, most = (np.searchsorted(jumps, h + step) for step in (-TOLERANCE, TOLERANCE))
        place = np.rint((found.astype(np.float64) * levels + levels - 1) / 2).astype(int)
        assert ((place >= least) & (place <= most)).all()
        grid = (2 * np.arange(levels) + 1 - levels) / levels
        np.testing.assert_array_equal(found, grid[place].astype(np.float32))
        z = grid[place]
    if settings.name == "sparse":
        size = np.abs(h)
        ranked = np.sort(size, axis=1)[:, ::-1]
        last_in, first_out = (
            ranked[:, at : at + 1] for at in (settings.active - 1, settings.active)
        )
        kept = found != 0
        assert (kept.sum(1) <= settings.active).all()
        assert (size[kept] >= (np.broadcast_to(last_in, size.shape) - 2 * near)[kept]).all()
        assert (size[~kept] <= (np.broadcast_to(first_out, size.shape) + 2 * near)[~kept]).all()
        z = np.where(kept, h, 0)
    error = np.abs(found - z)
    assert (error <= near + last_place(found)).all()
    return float(error.max() / exact.z_unit)


def check_numbers(exact: Exact, expected: Array, found: Array) -> float:
    """The largest difference in deviations of the columns."""
    schema = exact.run.schema
    assert (found.shape, found.dtype) == (expected.shape, np.dtype(schema.dtype))
    value, near = found.astype(np.float64), TOLERANCE * exact.x_unit
    if schema.dtype == "uint8":
        low, high = (np.rint(expected + step).clip(0, 255) for step in (-near, near))
        assert ((value >= low) & (value <= high)).all()
        past_half = np.abs(value - expected.clip(0, 255)) - 0.5
        return float((past_half / exact.x_unit).max(initial=0))
    integer = np.array([c.integer for c in schema.columns or [] if not c.levels], bool)
    integer = np.broadcast_to(integer if schema.kind == "table" else False, expected.shape)
    missing = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), missing)
    low, high = (np.where(integer, np.rint(expected + s), expected + s) for s in (-near, near))
    unit = last_place(found)
    assert (missing | ((value >= low - unit) & (value <= high + unit))).all()
    scale = np.where(exact.x_unit > 0, exact.x_unit, 1)
    return float((np.abs(value - expected) / scale)[~missing & ~integer].max(initial=0))


def check_words(exact: Exact, chance: Array, codes: Array, found: Array) -> float:
    """The largest difference of a word's chance."""
    levels = exact.run.schema.levels
    assert (codes.dtype, found.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(found, chance, rtol=0, atol=TOLERANCE)
    for column, part in enumerate(np.split(chance, np.cumsum(levels)[:-1], axis=1)):
        said = np.take_along_axis(part, codes[:, column : column + 1], 1)[:, 0]
        assert (said >= part.max(1) - TOLERANCE).all()
        np.testing.assert_allclose(part.sum(1), 1, rtol=1e-12)
    return float(np.abs(found - chance).max())


def in_batches(call: Callable[..., Any], arrays: Parts, batch: int) -> Parts:
    parts = [call(*(a[i : i + batch] for a in arrays)) for i in range(0, len(arrays[0]), batch)]
    parts = [part if isinstance(part, tuple) else (part,) for part in parts]
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def check_rows(ae: Autoencoder, exact: Exact, parts: Parts) -> tuple[float, float]:
    """Largest differences of encoder and decoder, in deviations, in batches of 1, 7 and all."""
    h, z = exact.encode(parts)
    encoder = decoder = 0.0
    first: list[Array] = []
    for batch in (1, 7, len(h)):
        (found_z,) = in_batches(ae.model.encode, parts, batch)
        encoder = max(encoder, check_latents(exact, h, z, found_z))
        # From the latents that were found, so that an encoder's differences are not counted twice.
        numbers, chance = exact.decode(found_z)
        found = in_batches(ae.model.decode, (found_z,), batch)
        decoder = max(decoder, check_numbers(exact, numbers, found[0]))
        if exact.run.schema.levels:
            decoder = max(decoder, check_words(exact, chance, *found[1:]))
        first = first or [found_z, *found]
        for once, again in zip(first, [found_z, *found], strict=True):
            np.testing.assert_array_equal(once, again)  # bit for bit in any batch
    return encoder, decoder


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that it holds."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if isinstance(value, list) or hasattr(value, "add") else [value]:
                yield from messages(inner)


def check_graph(raw: bytes, modules: set[str]) -> None:
    """Standard, bare, without a node or a tensor too many, named by modules."""
    model = onnx.load_from_string(raw)
    graph, nodes = model.graph, model.graph.node
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in nodes} == {""}
    operators = {node.op_type for node in nodes}
    assert operators <= set(OPERATORS)
    assert not operators & {*RANDOM, "Identity", "Dropout"}
    for message in messages(model):
        fields = {field.name for field, _ in message.ListFields()}
        assert not fields & {"metadata_props", "doc_string", "value_info", "external_data"}

    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    for node in nodes:
        *path, operator = node.name.split("/")
        assert ".".join(path) in modules, node.name
        assert re.fullmatch(rf"{node.op_type}(_\d+)?", operator), node.name

    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    assert all(used.intersection(node.output) for node in nodes)
    assert all(tensor.name in used for tensor in graph.initializer)
    said = [
        (node.op_type, *node.input, *sorted(a.SerializeToString() for a in node.attribute))
        for node in nodes
    ]
    assert len(set(said)) == len(said)
    held = [(t.data_type, *t.dims, t.raw_data) for t in graph.initializer]
    assert len(set(held)) == len(held)


def check(combination: Combination, data: Dataset, folder: Path) -> str:
    """A line of the table, if all is well."""
    run = trained(combination, data)
    assert run.schema.quality.is_pca == (combination.settings == PCA)
    exported = export(run, folder / "bundle")
    ae = load(folder / "bundle")
    assert all(found.ok for found in doctor.examine(ae.model))
    modules = {name for name, _ in run.model.named_modules()}
    for graph in ("encoder.onnx", "decoder.onnx"):
        check_graph(ae.bundle.files[graph], modules)
    held_out = data.take(np.concatenate([run.split.test, run.split.validation]))
    encoder, decoder = check_rows(ae, Exact(run, data), held_out)
    # What export says is measured in more ways, and on the same rows.
    assert exported.agreement.encoder < TOLERANCE
    assert exported.agreement.decoder < TOLERANCE
    return (
        f"{combination.rows:8} {combination.arch:6} {combination.bottleneck:12} "
        f"{encoder:8.1e} {decoder:8.1e}  {ae.manifest.golden.rows:6}  {combination.note}"
    ).rstrip()


HEAD = f"{'rows':8} {'arch':6} {'bottleneck':12} {'encoder':>8} {'decoder':>8}  golden"


@pytest.mark.parametrize("combination", COMMON, ids=lambda combination: combination.name)
def test_graphs_agree_with_the_model(
    combination: Combination, make_rows: Callable[[str], Dataset], tmp_path: Path
) -> None:
    assert combination in GRID
    print(f"{HEAD}\n{check(combination, make_rows(combination.rows), tmp_path)}")


@pytest.mark.soak
def test_every_combination(make_rows: Callable[[str], Dataset], tmp_path: Path) -> None:
    """All of them, as a table: largest differences in deviations, rows of golden vectors.

    Of whole numbers, it is how far the model's are past a half where another one was found.
    """
    print(HEAD)
    for at, combination in enumerate([*GRID, *ODD]):
        folder = tmp_path / str(at)
        folder.mkdir()
        try:
            print(check(combination, make_rows(combination.rows), folder), flush=True)
        except Exception as error:
            error.add_note(f"with {combination.name}")
            raise


def test_the_combinations_are_all_there_are() -> None:
    from ae_train.network.arch import ARCHS
    from ae_train.network.bottleneck import BOTTLENECKS as THERE

    assert {c.bottleneck for c in GRID} == {c.bottleneck for c in COMMON} == set(THERE)
    assert {c.arch for c in GRID} == {c.arch for c in COMMON} == set(ARCHS)
    assert {c.rows for c in GRID} == {c.rows for c in COMMON} == set(TAKEN)
    assert len(GRID) == 40
