"""Corruption of scaled rows before the encoder sees them, in training only: denoising.

Vincent et al. 2010, "Stacked denoising autoencoders". The loss compares with the rows as they were.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ae_train.data.form import Form
from ae_train.recipe import CORRUPTION, Corruption

Corrupt = Callable[[Tensor], Tensor]
# By name: a function from (amount, column of each number) to the corruption of scaled rows.
CORRUPTIONS: dict[str, Callable[[float, Tensor | None], Corrupt]] = {
    "gaussian": lambda amount, _: lambda s: s + amount * torch.randn_like(s),
    "mask": lambda amount, of: lambda s: torch.where(_chosen(s, amount, of), 0.0, s),
    "swap": lambda amount, of: (
        lambda s: torch.where(_chosen(s, amount, of), _from_others(s, of), s)
    ),
}


def make_corruption(recipe: Corruption, form: Form) -> Corrupt | None:
    """The corruption of a recipe as a function of scaled rows s, (B, ...); None for none."""
    if recipe.name == "none":
        return None
    return CORRUPTIONS[recipe.name](recipe.amount or CORRUPTION, _columns_of(form))


def _columns_of(form: Form) -> Tensor | None:
    """The column of each number of a mixed table's row, (W,); None where each is its own."""
    if not form.is_mixed:
        return None
    sizes = torch.tensor([1] * form.row_shape[0] + list(form.levels))
    return torch.arange(len(sizes)).repeat_interleave(sizes)


def _chosen(s: Tensor, share: float, columns: Tensor | None) -> Tensor:
    """Mask of a random `share` of the numbers; of a mixed table, of the columns."""
    if columns is None:
        return torch.rand_like(s) < share
    draws = torch.rand(len(s), int(columns[-1]) + 1, device=s.device)
    return draws[:, columns.to(s.device)] < share


def _from_others(s: Tensor, columns: Tensor | None) -> Tensor:
    """Rows made of other rows' values: each column taken from a random row of the batch."""
    flat = s.flatten(1)
    if columns is None:
        rows = torch.randint(len(s), flat.shape, device=s.device)
    else:
        size = (len(s), int(columns[-1]) + 1)
        rows = torch.randint(len(s), size, device=s.device)[:, columns.to(s.device)]
    return flat.gather(0, rows).reshape(s.shape)
