"""The graph of a scorer, and the proof that it computes what the module does in float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_export.export_source import ExportSource, Graphs, Wrapped, examples_of
from ae_export.graph import trace
from ae_export.reference import TOLERANCE, Parts
from ae_export.verify import BATCHES, Pair, in_all_ways
from ae_runtime.bundle.manifest import SCORER, Manifest
from ae_runtime.errors import VerificationFailed

Array = NDArray[Any]
Arrays = dict[str, Array]
Tensors = tuple[Tensor, Tensor, Tensor]
OUTPUTS = "score", "parts", "scores"


class _OfArrays(Wrapped):
    def forward(self, x: Tensor, z: Tensor, x_hat: Tensor) -> Tensors:
        return self.model(x, z, x_hat)


class _OfMixed(Wrapped):
    def forward(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        z: Tensor,
        x_hat_num: Tensor,
        x_hat_cat: Tensor,
        x_hat_prob: Tensor,
    ) -> Tensors:
        return self.model(x_num, x_cat, z, x_hat_num, x_hat_cat, x_hat_prob)


def scorer_graph(
    scorer: nn.Module, source: ExportSource, graphs: Graphs, manifest: Manifest
) -> bytes:
    """The graph of a scorer, for the rows that the graphs of its source take and give.

    Held against the module in float64 on held-out and on edge rows, in batches of 1, 2, 7 and 64:
    each number may be off by 1e-5 of itself plus 1e-5, times the row's distance factor. Raises
    VerificationFailed.
    """
    feeds, fetches = manifest.scorer_feeds, manifest.scorer_fetches
    x = examples_of(source)
    with torch.no_grad():
        z = source.encoder(*x)
        x_hat = source.decoder(z)
    x_hat = x_hat if isinstance(x_hat, tuple) else (x_hat,)
    wrapped = (_OfMixed if manifest.is_mixed else _OfArrays)(scorer)
    raw = trace(SCORER, wrapped, (*x, z, *x_hat), feeds, fetches)
    for parts in (source.held_out, source.edge):
        _verify(raw, scorer, source, graphs, parts, [feed.name for feed in feeds])
    return raw


def golden_scores(scorer: nn.Module, manifest: Manifest, golden: Mapping[str, Array]) -> Arrays:
    """Arrays of golden.npz for a scorer: its outputs for the rows in it, and their std."""
    arrays = tuple(golden[feed.name] for feed in manifest.scorer_feeds)
    outputs = dict(zip(OUTPUTS, score_rows(scorer, arrays), strict=True))
    sizes = {name: np.maximum(np.abs(outputs[name]).max(axis=0), 1.0) for name in OUTPUTS[1:]}
    return {name: outputs[name] for name in sizes} | {
        f"{name}_deviation": np.array([size.max()]) for name, size in sizes.items()
    }


def score_rows(scorer: nn.Module, arrays: Parts) -> list[Array]:
    """(score, parts, scores) of the scorer in float64. arrays: as its graph takes them."""
    exact = copy.deepcopy(scorer).double()
    with torch.no_grad():
        return [out.numpy() for out in exact(*(torch.from_numpy(array) for array in arrays))]


def _verify(
    raw: bytes,
    scorer: nn.Module,
    source: ExportSource,
    graphs: Graphs,
    parts: Parts,
    names: list[str],
) -> None:
    pair = Pair(source, graphs)
    z = pair.encode(parts, BATCHES[-1])
    arrays = (*parts, z, *pair.decode(z, BATCHES[-1]))
    expected = score_rows(scorer, arrays)
    far = source.reference.distance_factor(parts)
    for outputs, batch in in_all_ways(raw, OUTPUTS, dict(zip(names, arrays, strict=True))):
        for name, values, exact in zip(OUTPUTS, outputs, expected, strict=True):
            allowed = TOLERANCE * (1 + np.abs(exact))
            allowed *= far.reshape(-1, *[1] * (exact.ndim - 1))
            bad = ~(np.abs(values - exact) <= allowed)
            if values.shape != exact.shape or bad.any():
                row = int(np.argwhere(bad)[0][0]) if bad.any() else 0
                raise VerificationFailed(
                    f"the graph disagrees with the scorer: output {name}, row {row}, batch "
                    f"{batch}; nothing was written"
                )
