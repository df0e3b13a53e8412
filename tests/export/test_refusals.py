"""Verification: a graph that differs from its model, however it does, is not written."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ae_export import building, export, verify
from ae_export.export_source import Graphs
from ae_runtime.errors import VerificationFailed

Change = Callable[[nn.Module, Any], nn.Module]


@pytest.fixture
def export_changed(
    any_case: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What export says when one graph is traced of a changed model: (case, graph, change).

    Without `admit`, graphs pass that our loader would refuse: verification has to see them.
    """

    def refused(name: str, graph: str, change: Change, admit: bool = False) -> str:
        case = any_case(name)
        trace = building.trace

        def trace_changed(file: str, module: nn.Module, *ports: Any) -> bytes:
            if file != f"{graph}.onnx":
                return case.files[file]
            return trace(file, change(copy.deepcopy(module), case.run), *ports)

        with monkeypatch.context() as patch:
            patch.setattr(building, "trace", trace_changed)
            if not admit:
                patch.setattr("ae_export.graph.admit", lambda *arguments: None)
            with pytest.raises(VerificationFailed) as caught:
                export(case.run, tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []  # nothing was written
        return str(caught.value)

    return refused


NUMBER = r"-?(?:\d[\d.e+-]*|nan|inf)"


def found_and_expected(message: str, output: str, rows: str) -> tuple[float, float]:
    match = re.fullmatch(
        f"the graph disagrees with the model: output {output}, {rows} row \\d+, column \\d+, "
        f"batch \\d+(?:, optimisation off)?: ({NUMBER}) instead of ({NUMBER}); nothing was written",
        message,
    )
    assert match, message
    return float(match[1]), float(match[2])


@torch.no_grad()
def shift_code(module: nn.Module, run: Any) -> nn.Module:
    """Every latent a thousandth of a deviation further."""
    step = 1e-3 * torch.tensor(run.schema.z_std).square().mean().sqrt()
    module.model.arch.encode_net[-1].bias += step
    return module


@torch.no_grad()
def shift_output(module: nn.Module, run: Any) -> nn.Module:
    """Every column a thousandth of a deviation further."""
    module.model.path.decode_axes.bias += 1e-3
    return module


@pytest.mark.parametrize("name", ["table", "float32", "image"])
def test_a_thousandth_of_a_deviation_is_seen(export_changed: Callable[..., str], name: str) -> None:
    found, expected = found_and_expected(
        export_changed(name, "encoder", shift_code), "z", "held-out"
    )
    assert 1e-5 < abs(found - expected) < 1e-1
    found, expected = found_and_expected(
        export_changed(name, "decoder", shift_output), "x_hat", "held-out"
    )
    assert found != expected


class OfTheBatch(nn.Module):
    """Right for one row, wrong for more: it depends on the others."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        z = self.module(x)
        return z + 1e-3 * (z - z.mean(0, keepdim=True))


def test_a_graph_that_depends_on_its_batch_is_seen(
    export_changed: Callable[..., str],
) -> None:
    message = export_changed("float32", "encoder", lambda module, run: OfTheBatch(module))
    found_and_expected(message, "z", "held-out")
    assert "batch 2:" in message  # a batch of 1 agrees


def fill_otherwise(module: nn.Module, run: Any) -> nn.Module:
    module.model.preprocess.fill += 0.01
    return module


def clip_nearer(module: nn.Module, run: Any) -> nn.Module:
    scale_rows = module.model.preprocess.scale_rows
    module.model.preprocess.scale_rows = lambda x: scale_rows(x).clamp(-1e3, 1e3)
    return module


@pytest.mark.parametrize("change", [fill_otherwise, clip_nearer])
def test_edges_that_the_data_do_not_reach_are_held_too(
    export_changed: Callable[..., str], change: Change
) -> None:
    # No value is missing in these rows, and none is a thousand deviations out.
    found_and_expected(export_changed("float32", "encoder", change), "z", "edge")


def do_not_round(module: nn.Module, run: Any) -> nn.Module:
    module.model.preprocess.integer.zero_()
    module.model.preprocess.settle()
    return module


def test_integers_that_are_not_rounded_are_seen(
    export_changed: Callable[..., str],
) -> None:
    message = export_changed("table", "decoder", do_not_round)
    found, _ = found_and_expected(message, "x_hat", "held-out")
    assert found != round(found)


def turn(module: nn.Module, run: Any) -> nn.Module:
    unscale_rows = module.model.preprocess.unscale_rows
    module.model.preprocess.unscale_rows = lambda y: unscale_rows(y.flip(-1))
    return module


def test_channels_in_another_order_are_seen(
    export_changed: Callable[..., str],
) -> None:
    found_and_expected(export_changed("image", "decoder", turn), "x_hat", "held-out")


def other_words(module: nn.Module, run: Any) -> nn.Module:
    unscale_rows = module.model.preprocess.unscale_rows

    def changed(y: Tensor) -> tuple[Tensor, ...]:
        numbers, codes, chance = unscale_rows(y)
        return numbers, codes.flip(1), chance

    module.model.preprocess.unscale_rows = changed
    return module


@torch.no_grad()
def surer_words(module: nn.Module, run: Any) -> nn.Module:
    """Chances a little further from each other, of the same words."""
    for part in (module.model.path.decode_axes, module.model.arch.decode_net[-1]):
        part.weight[3:] *= 1.01
        part.bias[3:] *= 1.01
    return module


@pytest.mark.parametrize(
    ("change", "output"), [(other_words, "x_hat_cat"), (surer_words, "x_hat_prob")]
)
def test_other_words_and_other_chances_are_seen(
    export_changed: Callable[..., str], change: Change, output: str
) -> None:
    message = export_changed("mixed", "decoder", change)
    found, expected = found_and_expected(message, output, "held-out")
    assert abs(found - expected) > 1e-5


def test_graphs_are_held_without_optimisations_too(
    any_case: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may run them as they stand, and onnxruntime may optimise a wrong graph right."""
    open_session = verify.open_session

    class Off:
        def __init__(self, session: Any) -> None:
            self.session = session

        def run(self, *arguments: Any) -> list[Any]:
            return [value * np.float32(1.001) for value in self.session.run(*arguments)]

    def open_other(graph: bytes, *, optimised: bool = True) -> Any:
        session = open_session(graph, optimised=optimised)
        return session if optimised else Off(session)

    case = any_case("float32")
    graphs = Graphs(case.files["encoder.onnx"], case.files["decoder.onnx"])
    monkeypatch.setattr(building, "trace_both", lambda source: graphs)
    monkeypatch.setattr(verify, "open_session", open_other)
    with pytest.raises(VerificationFailed) as caught:
        export(case.run, tmp_path / "bundle")
    found_and_expected(str(caught.value), "z", "held-out")
    assert "batch 1, optimisation off: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Summed(nn.Module):
    """The right answer by an operation that a bundle may not hold."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        z = self.module(x)
        return z + 0 * z.cumsum(dim=1)


def test_a_graph_that_no_runtime_would_load_is_not_written(
    export_changed: Callable[..., str],
) -> None:
    message = export_changed("float32", "encoder", lambda module, run: Summed(module), True)
    assert message == (
        "encoder.onnx: operators that a bundle may not use: 'ai.onnx::CumSum'; "
        "update ae-toolkit, or export again; nothing was written"
    )
