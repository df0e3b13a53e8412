"""The sparse bottleneck: a few latents of each row are not zero.

Makhzani & Frey 2013, k-Sparse Autoencoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ae_runtime.errors import RecipeError
from ae_train.network.bottleneck.plain import CodeSummary, Plain

_LEAST_USE = 0.1  # part of an even share of the rows; a unit that is kept in fewer is helped


class Sparse(Plain):
    """z = h where |h| is among the `active` largest of its row (of equals the first), else 0."""

    is_dense = False

    def __init__(self, latent_dim: int, active: int) -> None:
        super().__init__(latent_dim)
        if active > latent_dim:
            raise RecipeError(
                f"[bottleneck] active = {active}, but there are {latent_dim} latents; "
                "set it lower, or latent_dim higher"
            )
        self.active = active
        self.is_identity = active == latent_dim
        before = torch.ones(latent_dim, latent_dim).triu()  # [j, i] = 1 for j <= i
        self.register_buffer("before", before, persistent=False)

    before: Tensor

    def encode(self, h: Tensor) -> Tensor:
        return torch.where(self._chosen(h), h, 0.0)

    def bounds(self, h: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
        """As in Plain; where `tolerance` decides whether a unit is kept, from 0 to its value."""
        if self.is_identity:
            return super().bounds(h, tolerance)
        size = h.abs()
        largest = size.topk(self.active + 1, 1).values
        last_in, first_out = largest[:, -2:-1], largest[:, -1:]
        either = (size >= last_in - 2 * tolerance) & (size <= first_out + 2 * tolerance)
        z = self.encode(h)
        slack = tolerance * ((z != 0) | either)
        low = torch.where(either, h.clamp(max=0), z)
        return low - slack, torch.where(either, h.clamp(min=0), z) + slack

    def penalty(self, h: Tensor) -> Tensor:
        """Penalty (B,) for units that are hardly ever kept: what they lack in the closest rows."""
        size = h.abs()
        bar = size.detach().topk(self.active, 1).values[:, -1:]  # (B, 1)
        near = size / bar.clamp(min=1e-12)
        rows = max(1, round(_LEAST_USE * self.active / self.latent_dim * len(h)))
        best = near.detach().topk(rows, 0).indices  # (rows, K)
        lacks = torch.relu(1.1 - near.gather(0, best)).square()
        return lacks.sum() / len(h) + torch.zeros_like(h[:, 0])

    def combine(self, loss: Tensor, penalty: Tensor, likelihood: bool) -> Tensor:
        return loss + penalty * (1.0 if likelihood else 2 * loss.detach())

    def describe(self, h: Tensor) -> dict[str, Any]:
        """Figures: active latents of a row, usage (share of rows) of each, and dead units."""
        usage = (self.encode(h) != 0).double().mean(0)
        return {
            "active": self.active,
            "usage": usage.tolist(),
            "dead": torch.nonzero(usage == 0).flatten().tolist(),
        }

    def summary(
        self, usage: Mapping[str, Any], z_std: Sequence[float], least_std: float
    ) -> CodeSummary:
        few = f"{self.active} of {self.latent_dim} latents"
        note = f"{few} are used by each row."
        dead = list(usage["dead"])
        return CodeSummary(few, usage["usage"], "share of rows that use it", dead, note=note)

    def _chosen(self, h: Tensor) -> Tensor:
        """Mask (B, K) of the units that are kept, exactly `active` in each row."""
        size = h.abs()
        bar = size.topk(self.active, 1).values[:, -1:]  # (B, 1)
        above, equal = size > bar, size == bar
        free = self.active - above.to(h.dtype) @ self.before[:, -1:]  # (B, 1)
        return above | (equal & (equal.to(h.dtype) @ self.before <= free))
