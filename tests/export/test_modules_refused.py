"""Modules that are refused, each with one line and nothing written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ae_export import export_modules
from ae_runtime import load
from ae_runtime.errors import AeError, DataError, OutputExists, VerificationFailed

Array = np.ndarray


def table(rows: int) -> Array:
    """(rows, 20) float32."""
    return np.random.default_rng(7).standard_normal((rows, 20)).astype(np.float32)


class Encoder(nn.Module):
    """20 -> 4."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class Decoder(nn.Module):
    """4 -> 20."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 20)

    def forward(self, z: Tensor) -> Any:
        return self.net(z)


class Draws(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z + 0.1 * torch.randn_like(z)


class Branches(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if x[0, 0] > -1e9 else -self.net(x)


class Alone(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (2 if len(x) == 1 else 1)


class OfTheBatch(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z - z.mean(0)


class Counts(Encoder):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) * self.calls


class OtherwiseTraced(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + (0.01 if torch.compiler.is_exporting() else 0)


class Tuple(Encoder):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.net(x)
        return z, z


class Square(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, None]


class Unregistered(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.axes = torch.eye(20)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x @ self.axes)


class Raises(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("the weights are elsewhere\nand more")


class Sums(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).cumsum(1)


class Shorter(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)[:, 1:]


class Double(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return self.net(z).double()


class DrawsRows(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        x_hat = self.net(z)
        return x_hat + torch.rand_like(x_hat)


class NoCopy(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.scaled = self.net[0].weight * 2  # as the old weight_norm keeps it


ANOTHER_TIME = (
    "gives other values for the same rows each time; a bundle's is a function: give a mean in "
    "place of a draw, and keep nothing between calls"
)
AMONG_OTHERS = (
    "gives other values for a row alone than among others; a bundle's rows must not influence "
    "each other"
)
GIVES_BACK = "a bundle gives back what it takes: reshape and cast inside of the decoder"
# "..." stands for what torch says, or for numbers.
REFUSED: list[tuple[type[nn.Module], type[nn.Module], str]] = [
    (Draws, Decoder, f"the encoder {ANOTHER_TIME}"),
    (Encoder, DrawsRows, f"the decoder {ANOTHER_TIME}"),
    (Counts, Decoder, f"the encoder {ANOTHER_TIME}"),
    (Alone, Decoder, f"the encoder {AMONG_OTHERS}"),
    (OfTheBatch, Decoder, f"the encoder {AMONG_OTHERS}"),
    (
        Branches,
        Decoder,
        "the module from x to z cannot be traced: GuardOnDataDependentSymNode: ...; write it "
        "without branches on values, and for any batch size",
    ),
    (
        OtherwiseTraced,
        Decoder,
        "the graph disagrees with the model: output z, held-out row 0, column 0, batch 1: ... "
        "instead of ...; nothing was written",
    ),
    (
        Tuple,
        Decoder,
        "the encoder gives tuple, not a tensor; wrap it in a module that picks one",
    ),
    (
        Square,
        Decoder,
        "the encoder gives (2, 1, 4) float32; a bundle's encoder gives z (B, K) float32",
    ),
    (
        Unregistered,
        Decoder,
        "the encoder does not take (16, 20) float32 in float64, which it is verified in: "
        "RuntimeError: ...; register its tensors as buffers",
    ),
    (
        Raises,
        Decoder,
        "the encoder does not take (2, 20) float32 at all: RuntimeError: the weights are elsewhere",
    ),
    (
        Sums,
        Decoder,
        "encoder.onnx: operators that a bundle may not use: 'ai.onnx::CumSum'; update ae-toolkit, "
        "or export again; nothing was written",
    ),
    (
        Encoder,
        Shorter,
        f"the decoder gives (2, 19) float32 for 2 rows of (20,) float32; {GIVES_BACK}",
    ),
    (
        Encoder,
        Double,
        f"the decoder gives (2, 20) float64 for 2 rows of (20,) float32; {GIVES_BACK}",
    ),
    (
        NoCopy,
        Decoder,
        "the encoder cannot be copied: RuntimeError: ...; give one without what training left "
        "in it, such as weight norms",
    ),
]


def refusal(out: Path, *arguments: Any, **options: Any) -> AeError:
    """What is raised, and nothing written."""
    with pytest.raises(AeError) as caught:
        export_modules(*arguments, out, **options)
    assert list(out.parent.iterdir()) == []
    return caught.value


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_no_function_of_one_row_is_refused(
    encoder: type[nn.Module], decoder: type[nn.Module], message: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    error = refusal(tmp_path / "bundle", encoder(), decoder(), table(100))
    assert isinstance(error, VerificationFailed)
    wanted = re.escape(message).replace(r"\.\.\.", ".+")
    assert re.fullmatch(wanted, str(error)), str(error)


def with_a_gap() -> Array:
    x = table(100)
    x[3, 4] = np.nan
    return x


NEEDED = (
    "rows (N, ...) of uint8, float32, float64 are needed, at least 2, since the graphs are "
    "verified on them"
)
NOT_FINITE = "example holds NaN or infinities; give rows without"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (table(1), f"example has shape (1, 20) and dtype float32; {NEEDED}"),
        (table(100)[0], f"example has shape (20,) and dtype float32; {NEEDED}"),
        (table(9).astype(object), f"example has shape (9, 20) and dtype object; {NEEDED}"),
        (table(9).astype(np.int64), f"example has shape (9, 20) and dtype int64; {NEEDED}"),
        (torch.zeros(9, 20).half(), f"example has shape (9, 20) and dtype float16; {NEEDED}"),
        (with_a_gap(), NOT_FINITE),
        (np.full((9, 20), -np.inf), NOT_FINITE),
    ],
    ids=["one row", "no rows", "objects", "integers", "halves", "gap", "infinities"],
)
def test_an_example_that_says_too_little_is_refused(
    example: Any, message: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path / "bundle", Encoder(), Decoder(), example)
    assert (type(error), str(error)) == (DataError, message)


def test_a_tolerance_may_be_wider(tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules = OtherwiseTraced(), Decoder()
    export_modules(*modules, table(100), tmp_path / "bundle", tolerance=1.0)
    assert load(tmp_path / "bundle").latent_dim == 4


def test_out_is_looked_at_first(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("thesis")
    with pytest.raises(OutputExists) as caught:
        export_modules(Raises(), Raises(), table(1), tmp_path / "out", overwrite=True)
    assert str(caught.value) == (
        f"{tmp_path / 'out'} exists and is not a bundle of ae-export; it is never overwritten, "
        "choose another"
    )
    assert (tmp_path / "out").read_text() == "thesis"
