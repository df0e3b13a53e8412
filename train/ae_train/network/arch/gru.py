"""The recurrent network: a gated recurrent unit that reads a window, and one that writes it.

Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.recipe import ResolvedArch


class Gru(nn.Module):
    """`depth` layers of `width` units on either side, for windows of series (T, C).

    The code is read from the last state. The writer is given the code at every time step beside a
    learned vector of that step, never its own output, whose errors would add up.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("series",)

    def __init__(self, form: Form, code_dim: int, decoder_dim: int, recipe: ResolvedArch) -> None:
        super().__init__()
        steps, channels = form.row_shape
        width, depth = recipe.width, max(1, recipe.depth)
        between = recipe.dropout if depth > 1 else 0.0
        self.reader = nn.GRU(channels, width, depth, batch_first=True, dropout=between)
        self.to_code = nn.Linear(width, code_dim)
        self.steps = nn.Parameter(0.1 * torch.randn(steps, width))
        self.from_code = nn.Linear(decoder_dim, width)
        self.writer = nn.GRU(width, width, depth, batch_first=True, dropout=between)
        self.to_output = nn.Linear(width, channels)

    def encode(self, s: Tensor) -> Tensor:
        states, _ = self.reader(s)  # (B, T, width)
        return self.to_code(states[:, -1])

    def decode(self, u: Tensor) -> Tensor:
        inputs = torch.tanh(self.from_code(u)[:, None] + self.steps)  # (B, T, width)
        states, _ = self.writer(inputs)
        return self.to_output(states)

    def start_at_zero(self) -> None:
        for layer in (self.to_code, self.to_output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
