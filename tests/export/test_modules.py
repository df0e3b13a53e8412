"""Modules of any architecture: their graphs agree with them, and say what they are."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ae_export import Exported, export_modules
from ae_runtime import load
from ae_runtime.bundle.zipped import zip_bundle
from ae_runtime.machine import doctor

Array = np.ndarray
TOLERANCE = 1e-5  # of a deviation


def table(rows: int, seed: int) -> Array:
    """(rows, 20) float32 of rank 4."""
    axes = np.random.default_rng(0).standard_normal((4, 20))
    return (np.random.default_rng(seed).standard_normal((rows, 4)) @ axes).astype(np.float32)


def far_table(rows: int, seed: int) -> Array:
    """(rows, 20) float64, a million deviations from zero."""
    return table(rows, seed) + 1e6 * np.arange(20.0)


def pictures(rows: int, seed: int) -> Array:
    """(rows, 12, 12) uint8: a ramp in any direction."""
    u, v = np.random.default_rng(seed).uniform(-1, 1, (2, rows, 1, 1))
    steps = np.linspace(-1, 1, 12)
    return np.rint(127.5 + 60 * (u * steps + v * steps[:, None])).astype(np.uint8)


def waves(rows: int, seed: int) -> Array:
    """(rows, 10, 2) float32."""
    phase = np.random.default_rng(seed).uniform(0, 6, (rows, 1, 1))
    return np.sin(phase + np.arange(10)[:, None] * [0.3, 0.5]).astype(np.float32)


class Encoder(nn.Module):
    """20 -> 4."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 4)
        )

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class Decoder(nn.Module):
    """4 -> 20."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 32), nn.LayerNorm(32), nn.LeakyReLU(), nn.Linear(32, 20)
        )

    def forward(self, z: Tensor) -> Any:
        return self.net(z)


class FarEncoder(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 1e6 * torch.arange(20, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean).float())


class FarDecoder(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 1e6 * torch.arange(20, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z).double() + self.mean


class PictureEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(72, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, None].float() / 255)


class PictureDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 72), nn.Unflatten(1, (8, 3, 3)), nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return (self.net(z)[:, 0] * 255).round().clamp(0, 255).to(torch.uint8)


class WaveEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 8, batch_first=True, bidirectional=True)
        self.code = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.lstm(x)[0][:, -1])


class WaveDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.row = nn.Linear(8, 2)

    def forward(self, z: Tensor) -> Tensor:
        return self.row(self.lstm(z[:, None].repeat(1, 10, 1))[0])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.code = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.layer(self.embed(x)).mean(1))


class Pair(NamedTuple):
    """Modules, their rows by (count, seed), and their functions in float64, written once more."""

    encoder: type[nn.Module]
    decoder: type[nn.Module]
    rows: Callable[[int, int], Array]
    kind: str
    encode: Callable[[Any, Tensor], Tensor] = lambda module, x: module(x)
    decode: Callable[[Any, Tensor], Tensor] = lambda module, z: module(z)


PAIRS = {
    "mlp": Pair(Encoder, Decoder, table, "table"),
    "far": Pair(
        FarEncoder, FarDecoder, far_table, "table", lambda module, x: module.net(x - module.mean)
    ),
    "conv": Pair(
        PictureEncoder, PictureDecoder, pictures, "image",
        lambda module, x: module.net(x[:, None].double() / 255),
        lambda module, z: module.net(z)[:, 0] * 255,
    ),
    "lstm": Pair(WaveEncoder, WaveDecoder, waves, "series"),
    "attention": Pair(Attention, WaveDecoder, waves, "series"),
}  # fmt: skip


def made(name: str) -> tuple[nn.Module, nn.Module]:
    """Modules in training, batch norms with statistics of their own."""
    pair = PAIRS[name]
    torch.manual_seed(0)
    encoder, decoder = pair.encoder(), pair.decoder()
    with torch.no_grad():
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
        for seed in range(40):  # a batch norm takes a tenth of each
            decoder(encoder(torch.from_numpy(pair.rows(64, seed))))
    return encoder, decoder


def float64(module: nn.Module) -> Any:
    return copy.deepcopy(module).eval().requires_grad_(False).double()


def states(*modules: nn.Module) -> list[Any]:
    """All that an export might change."""
    return [
        (name, inner.training, p.requires_grad, p.device, p.dtype, p.data_ptr(), p.tolist())
        for module in modules
        for name, inner in module.named_modules()
        for p in (*inner.parameters(recurse=False), *inner.buffers(recurse=False))
    ]


class Bundled(NamedTuple):
    """Modules and their bundle, with what they and torch were before and after the export."""

    pair: Pair
    encoder: nn.Module
    decoder: nn.Module
    exported: Exported
    before: Any
    after: Any

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.exported.location.iterdir()}

    def operators(self, which: str) -> list[str]:
        graph = onnx.load_from_string(self.files[f"{which}.onnx"]).graph
        return [node.op_type for node in graph.node]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundled]:
    """A pair by its name, exported when it is first asked for."""
    known: dict[str, Bundled] = {}

    def get(name: str) -> Bundled:
        if name not in known:
            encoder, decoder = made(name)

            def state() -> Any:
                return states(encoder, decoder), torch.get_default_dtype(), torch.is_grad_enabled()

            before, out = state(), tmp_path_factory.mktemp(name) / "bundle"
            exported = export_modules(encoder, decoder, PAIRS[name].rows(300, 7), out)
            known[name] = Bundled(PAIRS[name], encoder, decoder, exported, before, state())
        return known[name]

    return get


@pytest.mark.parametrize("name", PAIRS)
def test_graphs_agree_with_the_modules(name: str, bundled: Callable[[str], Bundled]) -> None:
    pair, encoder, decoder, exported, *_ = bundled(name)
    ae, x = load(exported.location), pair.rows(50, 8)
    assert all(check.ok for check in doctor.examine(ae.model))
    assert ae.manifest.kind == pair.kind
    known = pair.encode(float64(encoder), in_float64(pair.rows(300, 7))).numpy()
    expected = pair.encode(float64(encoder), in_float64(x)).numpy()
    z = ae.encode(x)
    unit = np.sqrt(known.var(0).mean())
    assert (np.abs(z - expected) <= TOLERANCE * unit + np.spacing(np.abs(z))).all()
    check_rows(pair, pair.decode(float64(decoder), torch.from_numpy(z).double()).numpy(), ae, z)
    assert max(exported.agreement.encoder, exported.agreement.decoder) < TOLERANCE


def in_float64(x: Array) -> Tensor:
    return torch.from_numpy(x.astype(np.float64))


def check_rows(pair: Pair, expected: Array, ae: Any, z: Array) -> None:
    x, x_hat = pair.rows(300, 7).astype(np.float64), ae.decode(z)
    near = TOLERANCE * (x.std(0) if pair.kind == "table" else x.std())
    assert x_hat.dtype == pair.rows(2, 0).dtype
    if x_hat.dtype == np.uint8:
        low, high = (np.rint(expected + step).clip(0, 255) for step in (-near, near))
        assert ((x_hat >= low) & (x_hat <= high)).all()
    else:
        assert (np.abs(x_hat - expected) <= near + np.spacing(np.abs(x_hat))).all()
    for batch in (1, 7):  # in the last place, sums over an odd number may depend on the batch
        parts = [ae.decode(z[i : i + batch]) for i in range(0, len(z), batch)]
        np.testing.assert_allclose(np.concatenate(parts), x_hat, rtol=1e-6, atol=np.max(near))


@pytest.mark.parametrize("name", PAIRS)
def test_the_modules_stay_as_they_are(name: str, bundled: Callable[[str], Bundled]) -> None:
    assert bundled(name).before == bundled(name).after
    assert bundled(name).encoder.training
    assert all(p.requires_grad for p in bundled(name).encoder.parameters())


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_batch_norms_are_folded_and_dropout_is_gone(
    name: str, bundled: Callable[[str], Bundled]
) -> None:
    operators = {
        *bundled(name).operators("encoder"),
        *bundled(name).operators("decoder"),
    }
    assert not {"BatchNormalization", "Dropout", "Identity"} & operators
    assert not {operator for operator in operators if operator.startswith("Random")}
    if name == "mlp":
        assert bundled(name).operators("encoder").count("Gemm") == 2
        graph = onnx.load_from_string(bundled(name).files["encoder.onnx"]).graph
        assert {tensor.name for tensor in graph.initializer} >= {"net.0.weight", "net.4.bias"}


def test_a_later_version_gives_the_same_modules_the_same_name(
    bundled: Callable[[str], Bundled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, encoder, decoder, exported, *_ = bundled("mlp")
    monkeypatch.setattr("ae_export.graph.__version__", "99.0")
    later = export_modules(encoder, decoder, pair.rows(300, 7), tmp_path / "later")
    assert later.model_id == exported.model_id
    raw = (tmp_path / "later" / "encoder.onnx").read_bytes()
    assert raw != bundled("mlp").files["encoder.onnx"]
    with torch.no_grad():
        other = copy.deepcopy(encoder)
        next(other.parameters())[0, 0] += 1
    assert (
        export_modules(other, decoder, pair.rows(300, 7), tmp_path / "x").model_id != later.model_id
    )


def test_a_bundle_of_modules_says_what_it_is(bundled: Callable[[str], Bundled]) -> None:
    pair, encoder, decoder, exported, *_ = bundled("mlp")
    files, manifest = bundled("mlp").files, load(exported.location).manifest
    assert (manifest.kind, manifest.columns, manifest.quality) == ("table", None, None)
    assert (manifest.latent.dim, manifest.latent.bottleneck) == (4, "custom")
    assert manifest.precision == "fp32"
    assert files["recipe.toml"] == b"# custom modules: Encoder and Decoder\n"
    card = files["README.md"].decode()
    headline = "20 numbers -> 4; errors on held-out rows are not known: its modules came without"
    assert f"# Autoencoder: {headline}\n" in card
    assert "Its modules, Encoder and Decoder, were trained elsewhere.\n" in card

    x = in_float64(pair.rows(300, 7))
    x_hat = float64(decoder)(float64(encoder)(x))
    model = float(((x_hat - x) ** 2 / x.var(0, correction=0)).mean())
    assert f"for tables): {model:.5g}; PCA of the same size fitted to these very rows " in card
    assert ", their mean 1. Rows that were trained on flatter the model" in card
    found = re.search(r"these very rows ([\d.e-]+), their mean 1\.", card)
    assert found
    assert float(found[1]) < 1e-12  # the rows are of rank 4


def test_a_kind_can_be_said_and_tensors_are_taken(tmp_path: Path) -> None:
    example = torch.from_numpy(waves(50, 7)).requires_grad_(True)
    same = (
        nn.Sequential(nn.Flatten(), nn.Linear(20, 3)),
        nn.Sequential(nn.Linear(3, 20), nn.Unflatten(1, (10, 2))),
    )
    export_modules(*same, example, tmp_path / "bundle", kind="image")
    assert load(tmp_path / "bundle").manifest.kind == "image"
    assert example.requires_grad


def test_a_zip_holds_the_same_bytes(bundled: Callable[[str], Bundled], tmp_path: Path) -> None:
    pair, encoder, decoder, exported, *_ = bundled("mlp")
    done = export_modules(encoder, decoder, pair.rows(300, 7), tmp_path / "a.zip", zip=True)
    raw = (tmp_path / "a.zip").read_bytes()
    assert (done.location, done.bytes) == (tmp_path / "a.zip", len(raw))
    assert raw == zip_bundle(bundled("mlp").files)
    assert load(raw).model_id == exported.model_id
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def row_in(rows: Array, files: dict[str, bytes]) -> set[str]:
    return {name for name, raw in files.items() for row in rows if row.tobytes() in raw}


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_rows_of_the_example_are_in_a_bundle_only_if_asked_for(
    name: str, bundled: Callable[[str], Bundled], tmp_path: Path
) -> None:
    pair, encoder, decoder, *_ = bundled(name)
    example, synthetic = pair.rows(300, 7), bundled(name).files
    export_modules(encoder, decoder, example, tmp_path / "real", golden="real")
    real = {path.name: path.read_bytes() for path in (tmp_path / "real").iterdir()}
    part = example[:, :4]  # is enough
    assert row_in(part, synthetic) == set()
    assert row_in(part, real) == {"golden.npz"}
    same = [name for name in real if real[name] == synthetic[name]]
    assert sorted(same) == ["README.md", "decoder.onnx", "encoder.onnx", "recipe.toml"]
    with np.load(tmp_path / "real" / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["x"], example[:32])


class Wide(nn.Module):
    def __init__(self, *sizes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_int8_is_smaller_and_the_same_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.tile(table(700, 7), 4)[:, :64]
    modules = Wide(64, 256, 256, 8), Wide(8, 256, 256, 64)
    fp32 = export_modules(*modules, x, tmp_path / "fp32")
    int8 = export_modules(*modules, x, tmp_path / "int8", precision="int8")
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert int8.model_id == fp32.model_id
    assert int8.bytes < 0.5 * fp32.bytes
    assert int8.weighed is not None
    assert int8.weighed.rise <= 0.02
    bundles = load(tmp_path / "fp32"), load(tmp_path / "int8")
    assert [ae.manifest.precision for ae in bundles] == ["fp32", "int8"]
    assert all(check.ok for check in doctor.examine(bundles[1].model))
    errors = [np.mean((ae.reconstruct(x[:256]) - x[:256]) ** 2) for ae in bundles]
    assert errors[1] <= 1.02 * errors[0]
    z = bundles[1].encode(x)
    np.testing.assert_array_equal(z, np.concatenate([bundles[1].encode(row[None]) for row in x]))


class Named(nn.Module):
    """Children with names that torch and the exporter have other uses for."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.code = nn.Linear(inputs, 5)
        self.graph = nn.Linear(5, 5)
        self.model = nn.Sequential(nn.Linear(5, 5))
        self.model.code = nn.Linear(5, outputs)
        self.x = nn.Parameter(torch.full((outputs,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        h = self.graph(torch.tanh(self.code(x)))
        return self.model.code(torch.tanh(self.model[0](h))) * self.x


def test_children_may_have_any_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_modules(Named(20, 4), Named(4, 20), table(100, 7), tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "encoder.onnx").graph
    assert [node.name for node in graph.node] == [
        "code/Gemm", "Tanh", "graph/Gemm", "model/0/Gemm", "Tanh_2", "model/code/Gemm", "Mul",
    ]  # fmt: skip
    names = {tensor.name for tensor in graph.initializer}
    assert {"code.weight", "graph.weight", "model.0.weight", "model.code.weight"} <= names
