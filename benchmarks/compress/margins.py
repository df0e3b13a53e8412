"""Differences of decoders in other arithmetics, against the decoder error: docs/archive.md.

python benchmarks/compress/margins.py

The decoder error is from 256 latents. The decoder is then run on these and more: normal ones, or,
where it is trained, those of the rows that it was trained on; in float64, and in float32 by torch
in three ways and by numpy with sums of linear layers in five orders.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ae_archive.model.decoder_error import decoder_error_of, perturbed_graphs
from ae_export.export_source import source_of_run
from ae_export.graph import trace
from ae_runtime.bundle.manifest import Port
from ae_runtime.model.devices import compute, open_session
from ae_train import train
from ae_train.data.loading import load_digits
from ae_train.recipe import make_recipe

Array = np.ndarray[Any, Any]
Case = tuple[nn.Module, Array]  # a decoder, and latents (R, K), which begin with the first rows'
Act = type[nn.Module]
LOOKED_AT, ROWS = 256, 1024
BOUND = 0.01  # of a column's range
FLAT = 1e-3  # of its largest value; a column of less range is taken for a constant
QUARTER = 0.25  # of the error: with perturbed weights, or an archive stores rows otherwise
LANES, STEPS = 8, 30
EPOCHS = {"dense": 20, "conv": 5, "gru": 2}
RELU, TANH, SIGMOID, SILU, GELU = ACTS = nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU


def main() -> None:
    warnings.filterwarnings("ignore", "TF32")  # of GPUs, whenever oneDNN is switched off
    torch.set_num_threads(1)
    begun = time.perf_counter()
    every: list[float] = []
    print("| | decoders | largest difference, in errors | error, of 1 % of a column's range |")
    print("| --- | --- | --- | --- |")
    for name, cases in GROUPS.items():
        torch.manual_seed(0)
        offs, errors = zip(*(measured(*case) for case in cases()), strict=True)
        ends = f"{np.nanmin(errors):.1g} to {np.nanmax(errors):.1g}"
        print(f"| {name} | {len(offs)} | {max(offs):.2f} | {ends} |", flush=True)
        every += offs
    within, past = sum(off <= QUARTER for off in every), sum(off > 1 for off in every)
    print(f"{len(every)} decoders, {within} off by at most a quarter of the error, {past} by more")
    print(f"than all of it; {time.perf_counter() - begun:.0f} s")


def measured(decoder: nn.Module, z: Array) -> tuple[float, float]:
    """Largest difference in decoder errors, and the median of these as shares of a bound."""
    decoder.eval().requires_grad_(False)
    latents = torch.from_numpy(z)
    shape = decoder(latents[:2]).shape[1:]
    ports = Port("z", "float32", [None, z.shape[1]]), Port("x_hat", "float32", [None, *shape])
    graph = trace("decoder.onnx", decoder, [latents[:2].clone()], ports[:1], ports[1:])
    here = compute(open_session(graph), ["x_hat"], {"z": z})[0].reshape(len(z), -1)
    first = here[:LOOKED_AT]
    error = np.array(decoder_error_of(graph, first, z[:LOOKED_AT], np.zeros(here.shape[1], bool)))
    here, largest = here.astype(np.float64), np.abs(first).max(axis=0)
    kept = np.ones(len(z), np.bool_)
    for other in perturbed_graphs(graph):
        x_hat = compute(open_session(other), ["x_hat"], {"z": z})[0].reshape(here.shape)
        kept &= (np.abs(x_hat - here) <= QUARTER * error).all(axis=1)
    off = [np.abs(x_hat.reshape(here.shape) - here)[kept] for x_hat in elsewhere(decoder, latents)]
    spread = np.ptp(here[:LOOKED_AT], axis=0)
    moves = spread > FLAT * largest
    shares = error[moves] / (BOUND * spread[moves])
    return float(np.max(off / error)), float(np.median(shares)) if moves.any() else np.nan


def elsewhere(decoder: nn.Module, z: Tensor) -> Iterator[Array]:
    """x_hat in each of the other arithmetics."""
    yield copy.deepcopy(decoder).double()(z.double()).numpy()
    yield decoder(z).numpy()
    yield torch.cat([decoder(row[None]) for row in z]).numpy()
    # Without NNPACK, whose fast convolutions add other products: no decoder error is for those.
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        yield decoder(z).numpy()
    for sums in (np.matmul, in_order, in_reverse, in_lanes, permuted):
        with Sums(sums):
            yield decoder(z).numpy()


class Sums(TorchFunctionMode):
    """Have linear layers multiply matrices (R, K) and (K, D) by `sums`.

    Attention and recurrent layers keep torch's products.
    """

    def __init__(self, sums: Callable[[Array, Array], Array]) -> None:
        super().__init__()
        self.sums = sums

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.linear:
            return func(*args, **(kwargs or {}))
        x, weight, bias = args
        rows = x.reshape(-1, x.shape[-1]).numpy()
        parts = np.split(rows, range(LOOKED_AT, len(rows), LOOKED_AT))  # that the cache holds
        summed = np.concatenate([self.sums(part, weight.numpy().T) for part in parts])
        return (torch.from_numpy(summed) + bias).reshape(*x.shape[:-1], -1)


def in_order(a: Array, b: Array) -> Array:
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for column, row in zip(a.T, b, strict=True):
        total += column[:, None] * row
    return total


def in_reverse(a: Array, b: Array) -> Array:
    return in_order(a[:, ::-1], b[::-1])


def in_lanes(a: Array, b: Array) -> Array:
    """Eight sums, as in a processor's vectors, and then the sum of their halves, and so on."""
    sums = np.stack([in_order(a[:, lane::LANES], b[lane::LANES]) for lane in range(LANES)])
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    total: Array = sums[0]
    return total


def permuted(a: Array, b: Array) -> Array:
    order = np.random.default_rng(0).permutation(len(b))
    return in_order(a[:, order], b[order])


def normal(latent_dim: int) -> Array:
    return np.random.default_rng(1).standard_normal((ROWS, latent_dim), np.float32)


def dense(
    sizes: tuple[int, ...], act: Act, gain: float | None = None, bias: float = 0.3
) -> nn.Sequential:
    """Layers of normal weights. gain: of each; None: one that keeps the size of values."""
    gain = gain or (1.0 if act in (TANH, SIGMOID) else 1.4)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, std=gain / inputs**0.5)
        nn.init.normal_(layer.bias, std=bias)
        layers += [layer, act()]
    return nn.Sequential(*layers[:-1])


def trained() -> Iterator[Case]:
    pixels = load_digits() / np.float32(16)
    sets: list[tuple[Array, str]] = [(pixels, "dense"), (pixels, "conv"), (pixels, "gru")]
    for load in (load_breast_cancer, load_diabetes):
        sets.append((load().data.astype(np.float32), "dense"))
    for x, arch in sets:
        kind = "series" if x is pixels else "table"  # an image is not of floats
        fields = {"data": {"kind": kind}, "arch": {"name": arch}, "fit": {"epochs": EPOCHS[arch]}}
        exported = source_of_run(train(x, make_recipe({"latent_dim": 6, **fields})))
        with torch.no_grad():
            yield exported.decoder, exported.encoder.eval()(torch.from_numpy(x)).numpy()


def small() -> Iterator[Case]:
    sizes = ((3, 16, 20), (8, 64, 64, 20), (64, 64, 64, 64, 64), (8, *(32,) * 8, 10))
    for act, each in product(ACTS, sizes):
        yield dense(each, act), normal(each[0])
    yield dense((3, 64, 64, 20), TANH, gain=6), normal(3)  # steep
    yield dense((3, *(64,) * 6, 20), TANH, gain=3), normal(3)
    yield dense((3, 64, 64, 20), SILU, bias=30), normal(3)


def wide() -> Iterator[Case]:
    for act in ACTS:
        yield dense((3, 512, 512, 21), act), normal(3)
    for act in (TANH, SILU):
        yield dense((3, *(512,) * 6, 21), act), normal(3)


def others() -> Iterator[Case]:
    for kind, width, gain in product((nn.GRU, nn.LSTM), (8, 64, 256), (1, 4)):
        yield recurrent(kind(4, width, batch_first=True), gain), normal(4)
    for width in (32, 64):
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0, batch_first=True)
        spread = nn.Linear(4, 10 * width), nn.Unflatten(1, (10, width))
        yield nn.Sequential(*spread, layer, nn.Linear(width, 2)), normal(4)
    for offset in (0, 300):  # beside which what is normed is small
        first = nn.Linear(4, 64)
        first.bias.data += offset
        layers = nn.LayerNorm(64), GELU(), nn.Linear(64, 64), nn.LayerNorm(64), GELU()
        yield nn.Sequential(first, *layers, nn.Linear(64, 20)), normal(4)
    for width, act in ((16, RELU), (32, SILU)):
        larger = nn.ConvTranspose2d(width, width, 4, 2, 1), act()
        last = nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(width, 1, 3, padding=1)
        for size, middle in ((7, larger), (4, (*larger, nn.Conv2d(width, width, 3, padding=1)))):
            spread = nn.Linear(8, width * size**2), nn.Unflatten(1, (width, size, size))
            yield nn.Sequential(*spread, *middle, nn.BatchNorm2d(width), act(), *last), normal(8)


def tipping() -> Iterator[Case]:
    """States come apart at a touch for a few latents, which the first ones may not show."""
    for _ in range(8):
        yield recurrent(nn.GRU(4, 8, batch_first=True), 8), normal(4)


def recurrent(layer: nn.RNNBase, gain: float) -> nn.Sequential:
    for weight in layer.parameters():
        weight.data *= gain
    return nn.Sequential(Repeated(layer), nn.Linear(layer.hidden_size, 2))


class Repeated(nn.Module):
    """What a recurrent layer gives for z at each of its steps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        outputs: Tensor = self.layer(z[:, None].repeat(1, STEPS, 1))[0]
        return outputs


def cancelling() -> Iterator[Case]:
    """Units in pairs that are nearly the same, with weights `large` and -`large` after them."""
    sizes = ((16, 1e4), (256, 1e2), (256, 1e4), (1024, 1e4))
    for act, (pairs, large), order in product((TANH, SILU, GELU), sizes, ("far", "near", "mixed")):
        decoder = dense((3, 2 * pairs, 6), act, gain=1, bias=0)
        first, last = weights_of(decoder)
        first[pairs:] = first[:pairs] + torch.randn(pairs, 3) / large
        last[:, pairs:] = -last[:, :pairs]
        units = torch.arange(2 * pairs)  # far: all the first of the pairs, then all the second
        if order == "near":
            units = units.reshape(2, -1).T.reshape(-1)
        elif order == "mixed":
            units = torch.randperm(2 * pairs)
        first[:], last[:] = first[units], large * last[:, units]
        yield decoder, normal(3)


def long_sums() -> Iterator[Case]:
    for each in (TANH, SILU, SIGMOID):
        yield dense((3, 2048, 21), each), normal(3)


def one_sign() -> Iterator[Case]:
    sizes = ((3, 512, 20), (3, 512, 40), (3, 512, 512, 21), (3, 512, 512, 30), (3, 2048, 21))
    for act, each in product((RELU, SIGMOID), sizes):  # which give no negative number
        decoder = dense(each, act)
        for weight in weights_of(decoder):
            weight.abs_()
        yield decoder, normal(3)


def weights_of(decoder: nn.Sequential) -> list[Tensor]:
    return [layer.weight.data for layer in decoder if isinstance(layer, nn.Linear)]


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "trained: dense, convolutions, GRU": trained,
    "dense, 2 to 9 layers of 16 to 64": small,
    "dense, 3 and 7 layers of 512": wide,
    "GRU, LSTM, attention, layer norm, convolutions": others,
    "large numbers that cancel, sums of 32 to 2048": cancelling,
    "sums of 2048": long_sums,
    "sums of 512 and 2048 products of one sign": one_sign,
    "GRU of 8 units, weights of up to 2.8": tipping,
}

if __name__ == "__main__":
    main()
