"""The graph of a scorer, and the proof that it computes what the module does in float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ae_export.export_source import Graphs, Subject, examples_of
from ae_export.graph import trace
from ae_export.reference import TOLERANCE, Parts
from ae_export.verify import BATCHES, Pair, in_batches
from ae_runtime.bundle.manifest import SCORER, Manifest
from ae_runtime.errors import BundleRefused, VerificationFailed
from ae_runtime.graphs.admission import ANY_BYTES, admit
from ae_runtime.model.devices import open_session

Array = NDArray[Any]
Arrays = dict[str, Array]
Tensors = tuple[Tensor, Tensor, Tensor]
OUTPUTS = "score", "parts", "scores"


class _OfArrays(nn.Module):
    # Arguments one by one, because the exporter names the graph's inputs so.
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, z: Tensor, x_hat: Tensor) -> Tensors:
        return self.model(x, z, x_hat)


class _OfMixed(_OfArrays):
    def forward(  # type: ignore[override]
        self,
        x_num: Tensor,
        x_cat: Tensor,
        z: Tensor,
        x_hat_num: Tensor,
        x_hat_cat: Tensor,
        x_hat_prob: Tensor,
    ) -> Tensors:
        return self.model(x_num, x_cat, z, x_hat_num, x_hat_cat, x_hat_prob)


def scorer_graph(subject: Subject, graphs: Graphs, manifest: Manifest) -> bytes:
    """The graph of the subject's scorer, for the rows that the other graphs take and give.

    Held against the module in float64 on held-out and on edge rows, in batches of 1, 2, 7 and 64:
    each number may be off by 1e-5 of itself plus 1e-5, times how far out the row is. Raises
    VerificationFailed.
    """
    scorer = subject.scorer
    assert scorer is not None
    feeds, fetches = manifest.scorer_feeds, manifest.scorer_fetches
    x = examples_of(subject)
    with torch.no_grad():
        z = subject.encoder(*x)
        x_hat = subject.decoder(z)
    x_hat = x_hat if isinstance(x_hat, tuple) else (x_hat,)
    wrapped = (_OfMixed if manifest.is_mixed else _OfArrays)(scorer)
    raw = trace(wrapped, (*x, z, *x_hat), feeds, fetches)
    try:
        admit(SCORER, raw, feeds, fetches, ANY_BYTES)
    except BundleRefused as error:
        raise VerificationFailed(f"{error}; nothing was written") from None
    for parts in (subject.held_out, subject.edge):
        _verify(raw, scorer, subject, graphs, parts, [feed.name for feed in feeds])
    return raw


def golden_scores(subject: Subject, manifest: Manifest, golden: Mapping[str, Array]) -> Arrays:
    """What golden.npz holds of the scorer's outputs, for the rows in it, with their deviations."""
    assert subject.scorer is not None
    arrays = tuple(golden[feed.name] for feed in manifest.scorer_feeds)
    found = dict(zip(OUTPUTS, score_rows(subject.scorer, arrays), strict=True))
    sizes = {name: np.maximum(np.abs(found[name]).max(axis=0), 1.0) for name in OUTPUTS[1:]}
    return {name: found[name] for name in sizes} | {
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
    subject: Subject,
    graphs: Graphs,
    parts: Parts,
    names: list[str],
) -> None:
    pair = Pair(subject, graphs)
    z = pair.encode(parts, BATCHES[-1])
    arrays = (*parts, z, *pair.decode(z, BATCHES[-1]))
    expected = score_rows(scorer, arrays)
    far = subject.reference.how_far(parts)
    for optimised in (True, False):
        session = open_session(raw, optimised=optimised)
        for batch in BATCHES:
            found = in_batches(session, OUTPUTS, dict(zip(names, arrays, strict=True)), batch)
            for name, values, wanted in zip(OUTPUTS, found, expected, strict=True):
                allowed = TOLERANCE * (1 + np.abs(wanted))
                allowed *= far.reshape(-1, *[1] * (wanted.ndim - 1))
                bad = ~(np.abs(values - wanted) <= allowed)
                if values.shape != wanted.shape or bad.any():
                    row = int(np.argwhere(bad)[0][0]) if bad.any() else 0
                    raise VerificationFailed(
                        f"the graph disagrees with the scorer: output {name}, row {row}, batch "
                        f"{batch}; nothing was written"
                    )
