"""How far a decoder may be off elsewhere, estimated by copies with perturbed weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ae_runtime
from ae_archive.header import MAX_BOUND, Model, Probe
from ae_archive.model.decoder import digest
from ae_archive.model.decoder_error import Perturbed, decoder_error_of, perturbed_graphs
from ae_runtime.bundle.manifest import Port
from ae_runtime.graphs import admission
from ae_runtime.graphs.graph import Tensor, read_graph
from ae_runtime.model.devices import compute, open_session

GOLDEN = Path(__file__).parent.parent / "golden" / "v1"
NAN, MOST, LEAST = np.nan, np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal


def weights(graph: bytes) -> dict[str, Tensor]:
    read = read_graph(graph)
    constants = {node.outputs[0]: tensor for node in read.nodes for tensor in node.tensors}
    return constants | {tensor.name: tensor for tensor in read.initializers}


def numbers(tensor: Tensor) -> np.ndarray:
    return np.frombuffer(tensor.raw, np.float32).astype(np.float64)


@pytest.mark.parametrize("name", ["gru", "float32", "table", "image", "scored_series"])
def test_weights_move_by_a_unit_and_nothing_else_does(name: str) -> None:
    ae = ae_runtime.load(GOLDEN / name)
    graph, ports = ae.bundle.files["decoder.onnx"], ae.manifest.outputs
    feeds = [Port("z", "float32", [None, ae.latent_dim])]
    needs = admission.admit("decoder.onnx", graph, feeds, ports)
    copies = list(perturbed_graphs(graph))
    assert len(set(copies)) == 4
    for copy in copies:
        assert len(copy) == len(graph)
        assert admission.admit("decoder.onnx", copy, feeds, ports) == needs
        theirs = weights(copy)
        for key, tensor in weights(graph).items():
            if tensor.dtype != 1:
                assert theirs[key].raw == tensor.raw
                continue
            w = numbers(tensor)
            unit = np.spacing(np.abs(w).astype(np.float32))
            off = np.abs(numbers(theirs[key]) - w)
            assert (off <= unit).all()
            assert (off[w != 0] >= unit[w != 0] / 2).all()  # half a one, below a power of two
    assert list(perturbed_graphs(graph)) == copies


def test_what_says_sizes_or_powers_stays(w: SimpleNamespace) -> None:
    scales = np.float32([1, 1, 2, 2])
    graph = w.model(
        w.node("Resize", "x - scales", "big", w.attribute("mode", "nearest")),
        w.node("Constant", "", "two", w.attribute("value", w.tensor("", np.float32(2)))),
        w.node("Constant", "", "three", w.attribute("value", w.tensor("", np.float32(3)))),
        w.node("Pow", "big two", "square"),
        w.node("Mul", "square three", "x_hat"),
        tensors=(
            w.tensor("scales", scales),
            w.tensor("special", np.float32([0, -0.0, NAN, np.inf, LEAST, MOST])),
            w.tensor("double", np.float64([1.5])),
            w.tensor("none", np.float32([])),
        ),
    )
    for copy in perturbed_graphs(graph):
        found = weights(copy)
        np.testing.assert_array_equal(numbers(found["scales"]), scales)
        assert numbers(found["two"]) == 2
        assert abs(numbers(found["three"]) - 3) == 2.0**-22
        special = numbers(found["special"])
        np.testing.assert_array_equal(special[:4], [0, 0, NAN, np.inf])
        assert special[4] in (0, 2 * LEAST)
        assert found["double"].raw == weights(graph)["double"].raw


def decoder(w: SimpleNamespace, weights: np.ndarray) -> bytes:
    """A graph from z (B, 2) to x_hat (B, D)."""
    raw: bytes = w.model(
        w.node("MatMul", "z v", "x_hat"),
        tensors=(w.tensor("v", weights.astype(np.float32)),),
        inputs=(w.port("z", 1, ["batch", 2]),),
        outputs=(w.port("x_hat", 1, ["batch", weights.shape[1]]),),
    )
    return raw


def test_a_decoder_error_follows_what_cancels(w: SimpleNamespace) -> None:
    graph = decoder(w, np.array([[1.0, 1000, 0.1], [1, -1000, NAN]]))
    z = np.random.default_rng(0).standard_normal((64, 1)).astype(np.float32).repeat(2, 1)
    z[:, 1] *= np.float32(0.999)  # of 1000 there is left 1
    x_hat = compute(open_session(graph), ["x_hat"], {"z": z})[0]
    plain, cancels, unknown = decoder_error_of(graph, x_hat, z, np.zeros(3, bool))
    unit = 2.0**-24 * np.abs(x_hat).max(axis=0)
    assert 32 * unit[0] <= plain <= 4 * 32 * unit[0]
    assert cancels >= 500 * 32 * unit[1]
    assert MAX_BOUND / 2 <= unknown <= MAX_BOUND
    assert decoder_error_of(graph, x_hat, z, np.array([True, False, True])) == [1.0, cancels, 1.0]
    x_hat[0, 0] = np.inf
    assert decoder_error_of(graph, x_hat, z, np.zeros(3, bool)) == [unknown, cancels, unknown]
    assert decoder_error_of(b"", x_hat, z, np.ones(3, bool)) == [1.0, 1.0, 1.0]  # it is not asked


def test_rows_that_move_by_more_than_the_decoder_error_are_not_steady(w: SimpleNamespace) -> None:
    graph = decoder(w, np.array([[1.0, 1000], [1, -1000]]))
    first = np.float32(0.001) * np.random.default_rng(0).standard_normal((64, 2), np.float32)
    later = np.repeat(np.float32(100), 64)[:, None] + first  # of 100,000 there is left as little
    session = open_session(graph)
    for jumps in np.array([[False, False], [True, False]]):
        error = decoder_error_of(graph, compute(session, ["x_hat"], {"z": first})[0], first, jumps)
        model = Model(
            id="",
            sha256=digest(graph),
            dtype="float32",
            steps=[0, 0],
            middle=[0, 0],
            decoder_error=error,
            probe=Probe(1, [], 1.0),
        )
        copies = Perturbed(model, graph, (2,), jumps)
        x_hat = [compute(session, ["x_hat"], {"z": z})[0] for z in (first, later)]
        np.testing.assert_array_equal(copies.steady(first, x_hat[0]), [True, True])
        np.testing.assert_array_equal(copies.steady(later, x_hat[1]), jumps)
        x_hat[0][5, 1] = np.nan
        np.testing.assert_array_equal(copies.steady(first, x_hat[0]), [True, False])
        copies.close()
