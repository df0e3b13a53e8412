"""Archives of a model read with other arithmetic: numpy's, and another compiler's, wasm in Node.

All that a reader computes with the decoder is replaced, the probe too. Of numpy 100,000 of the
1,000,000 values of each model are in the plain run; of wasm all are in the soak.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from threadpoolctl import threadpool_limits

import ae_runtime
from ae_archive import Archive, compress
from ae_archive.model.decoder import Decoder
from ae_runtime.errors import ArchiveError

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "v1"
NODE_MODULES = ROOT / "build" / "node" / "node_modules"
SCRIPT = ROOT / "benchmarks" / "portability" / "decode.mjs"
Array = np.ndarray[Any, Any]
Decode = Callable[[Array], Array]
FIRST = 300  # windows of the first block, which the decoder error is from
WIDTH = 512
ALL = 1_000_000
BATCH = 1000
# Of whole numbers, which differ by 1 or not at all, there is one decoder error, and so one bound.
NAMES = ("gru", "scored_series", "wide", "cancelling")
MODELS = [
    *((name, tight) for name in NAMES for tight in (True, False)),
    ("digits", False),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Of numpy's products: beside other tests, its threads wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles with decoders that no training gave: "wide" and "cancelling".

    Each is tests/golden/v1/gru with other graphs: windows (12, 2) -> 3, by layers of 512. The
    decoder gives the latents themselves and 21 functions of them, the encoder takes the former.
    """
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape) / np.sqrt(shape[0])

    def initializer(name: str, values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.asarray(values, dtype), name)

    def layers(*weights: Array) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """x_hat of z: products with the weights, and Tanh between them."""
        nodes, x = [], "z"
        for at in range(len(weights)):
            nodes.append(node("MatMul", [x, f"w{at}"], [f"product{at}"]))
            nodes.append(node("Tanh", [f"product{at}"], [x := f"tanh{at}"]))
        nodes[-1] = node("Concat", ["z", nodes[-2].output[0]], ["flat"], axis=1)
        nodes.append(node("Reshape", ["flat", "shape"], ["x_hat"]))
        named = [initializer(f"w{at}", w) for at, w in enumerate(weights)]
        return nodes, [*named, initializer("shape", [-1, 12, 2], np.int64)]

    # No training could make a longer sum of products.
    wide = layers(normal(3, WIDTH), normal(WIDTH, WIDTH), normal(WIDTH, 21))
    # Pairs of units that are nearly each other's negative, by weights of 100: of sums of numbers
    # like 100 there is left what is like 1.
    half, out = normal(3, WIDTH // 2), 100 * normal(WIDTH // 2, 21)
    nearly = -half + 0.01 * rng.standard_normal(half.shape)
    cancelling = layers(np.hstack([half, nearly]), np.vstack([out, out]))
    latents = (
        [
            node("Reshape", ["x", "shape"], ["f"]),
            node("Slice", ["f", "begin", "end", "axis"], ["z"]),
        ],
        [
            initializer(name, values, np.int64)
            for name, values in (("shape", [-1, 24]), ("begin", [0]), ("end", [3]), ("axis", [1]))
        ],
    )
    x, z = ("x", ["batch", 12, 2]), ("z", ["batch", 3])
    encoder = graph_of(*latents, [x], [z])
    folder = tmp_path_factory.mktemp("bundles")
    for name, decoder in (("wide", wide), ("cancelling", cancelling)):
        graph = graph_of(*decoder, [z], [("x_hat", x[1])])
        write_bundle(folder / name, {"decoder.onnx": graph, "encoder.onnx": encoder})
    return folder


def write_bundle(folder: Path, graphs: dict[str, bytes]) -> None:
    """tests/golden/v1/gru with these graphs."""
    shutil.copytree(GOLDEN / "gru", folder)
    fields = json.loads((folder / "manifest.json").read_bytes())
    for name, raw in graphs.items():
        (folder / name).write_bytes(raw)
        fields["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    fields.pop("manifest_sha256", None)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    fields["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")


def graph_of(nodes: Any, initializers: Any, inputs: Any, outputs: Any) -> bytes:
    ports = [
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
            for name, dims in of
        ]
        for of in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(nodes, "main", *ports, initializers)
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class Stored:
    """An archive of a model's rows, all by the model. error: of the decoder, for a row's values."""

    path: Path
    ae: ae_runtime.Autoencoder
    x: Array
    bound: Array
    error: Array

    def read(self, decode: Decode, monkeypatch: pytest.MonkeyPatch) -> Array:
        """All rows, where `decode` is the decoder. Raises ArchiveError where its probe fails."""
        with monkeypatch.context() as patched, Archive(self.path, self.ae) as archive:
            patched.setattr(Decoder, "decode", lambda _, z: decode(z))
            return archive[:]

    def off(self, found: Array) -> float:
        """The largest error of finite values, in bounds; the others are the same."""
        known = np.isfinite(self.x)
        np.testing.assert_array_equal(found[~known], self.x[~known])
        errors = np.abs(found.astype(np.float64) - self.x.astype(np.float64)) / self.bound
        return float(errors[known].max())

    def share(self, other: Array, here: Array) -> float:
        """How far values of x_hat are from others at most, in decoder errors."""
        off = np.abs(other.astype(np.float64) - here.astype(np.float64))
        return float(np.nanmax(off.reshape(-1, *self.error.shape) / self.error))


def stored(folder: Path, bundle: Path, values: int, tight: bool) -> Stored:
    """tight: a bound of 2.5 decoder errors, less than half of which is left.

    Otherwise 5 % of a standard deviation.
    """
    ae = ae_runtime.load(bundle)
    rng = np.random.default_rng(0)
    size = int(np.prod(ae.input_shape))
    z = rng.standard_normal((max(-(-values // size), 2 * FIRST), ae.latent_dim))
    x_hat = ae.decode(z.astype(np.float32))
    deviation = np.nan_to_num(x_hat.astype(np.float64)).std(axis=0)
    share = 1e-4 if tight else 1e-2
    x = (x_hat + share * deviation * rng.standard_normal(x_hat.shape)).astype(x_hat.dtype)
    if x.dtype == np.uint8:
        x = np.clip(x_hat.astype(int) + rng.integers(-3, 4, x.shape), 0, 16).astype(np.uint8)
        deviation = 80  # of which 5 % are 4 of the 17 values
    if ae.manifest.kind == "series":  # rows are time steps
        deviation = deviation.min(axis=0)
        x, first = x.reshape(-1, x.shape[-1]), FIRST * x.shape[1]
    else:
        first = FIRST
    bound = np.where(deviation > 0, 0.05 * deviation, 0.1)
    path, error = folder / f"{bundle.name}.aez", bound
    for again in range(1 + tight):
        written = compress(
            iter([x[:first]] if tight and not again else [x[:first], x[first:]]),
            path,
            max_error=bound,
            model=ae,
            overwrite=True,
            chunk_rows=max(12 * FIRST, len(x) // 3),
        )
        with Archive(path, ae) as archive:
            assert archive.decoder_error is not None
            error = archive.decoder_error
        if tight:
            bound = 2.5 * error
    assert written.modes.keys() == {"model"}
    return Stored(path, ae, x, np.broadcast_to(written_bound(path), x.shape[1:]), error)


def written_bound(path: Path) -> Array:
    with Archive(path) as archive:
        assert archive.max_error is not None
        return archive.max_error


def by_numpy(ae: ae_runtime.Autoencoder) -> Decode:
    evaluator = ReferenceEvaluator(onnx.load_from_string(ae.bundle.files["decoder.onnx"]))

    def decode(z: Array) -> Array:
        parts = [z[at : at + BATCH] for at in range(0, len(z), BATCH)]
        with np.errstate(over="ignore"):  # in its sigmoid, of both sides
            return np.concatenate([evaluator.run(["x_hat"], {"z": part})[0] for part in parts])

    return decode


class Wasm:
    """A decoder in Node. Latents are gathered first, and answered when all are known."""

    def __init__(self, one: Stored, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gathered: list[Array] = []

        def gather(z: Array) -> Array:
            gathered.append(z.copy())
            return one.ae.decode(z)

        one.read(gather, monkeypatch)
        (work / "decoder.onnx").write_bytes(one.ae.bundle.files["decoder.onnx"])
        np.concatenate(gathered).tofile(work / "z.bin")
        if not (work / "node_modules").exists():
            (work / "node_modules").symlink_to(NODE_MODULES)
            shutil.copy(SCRIPT, work)
        words = ["decode.mjs", "onnxruntime-web", "decoder.onnx", "z.bin"]
        words += [str(one.ae.latent_dim), str(BATCH), "x_hat.bin"]
        done = subprocess.run(["node", *words], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.said = done.stdout.strip()
        port = one.ae.manifest.outputs[0]
        x_hat = np.fromfile(work / "x_hat.bin", port.dtype).reshape(-1, *port.row_shape)
        ends = np.cumsum([len(z) for z in gathered])[:-1]
        self._answers = {
            z.tobytes(): part for z, part in zip(gathered, np.split(x_hat, ends), strict=True)
        }

    def __call__(self, z: Array) -> Array:
        return self._answers[z.tobytes()]


def check(one: Stored, decode: Decode, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No value is beyond the bound, in another arithmetic that is within the decoder error."""
    worst = 0.0

    def compared(z: Array) -> Array:
        nonlocal worst
        x_hat = decode(z)
        worst = max(worst, one.share(x_hat, one.ae.decode(z)))
        return x_hat

    off = one.off(one.read(compared, monkeypatch))
    print(
        f"{name}, {one.path.stem}, a bound of {float(np.max(one.bound / one.error)):.3g} times "
        f"the decoder error: {one.x.size:,} values, errors up to {off:.5f} of it; x_hat is off by "
        f"{worst:.4f} of the decoder error"
    )
    assert off <= 1
    assert worst <= (1 if one.x.dtype == np.uint8 else 0.25)  # more the probe does not allow
    assert worst > 0 or one.x.dtype == np.uint8  # numbers close to a half may all round as here


def bundle_at(name: str, made: Path) -> Path:
    places = {"wide": made, "cancelling": made, "digits": ROOT / "models"}
    return places.get(name, GOLDEN) / name


@pytest.mark.parametrize(
    ("values", "name", "tight"),
    [
        *((ALL // 10, name, True) for name in ("gru", "wide", "cancelling")),
        *(pytest.param(ALL, *model, marks=pytest.mark.soak) for model in MODELS),
    ],
)
def test_numpy_in_the_decoders_place_keeps_the_bound(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: Path,
    values: int,
    name: str,
    tight: bool,
) -> None:
    one = stored(tmp_path, bundle_at(name, made), values, tight)
    assert one.x.size >= values
    check(one, by_numpy(one.ae), "numpy", monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "tight"), MODELS)
def test_wasm_in_the_decoders_place_keeps_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path, name: str, tight: bool
) -> None:
    assert NODE_MODULES.is_dir(), "`make build/node/.ready` brings what it needs"
    one = stored(tmp_path, bundle_at(name, made), ALL, tight)
    assert one.x.size >= ALL
    wasm = Wasm(one, tmp_path, monkeypatch)
    print(wasm.said)
    check(one, wasm, "wasm", monkeypatch)


def test_an_arithmetic_that_is_too_far_off_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the probe; and without one, values would lie beyond the bound."""
    one = stored(tmp_path, GOLDEN / "gru", 20_000, tight=True)

    def rough(z: Array) -> Array:
        return (one.ae.decode(z) + 3 * one.error).astype(np.float32)

    with pytest.raises(ArchiveError, match="this machine's arithmetic is off by"):
        one.read(rough, monkeypatch)
    monkeypatch.setattr(Decoder, "_probe", lambda _: None)
    assert one.off(one.read(rough, monkeypatch)) > 1
