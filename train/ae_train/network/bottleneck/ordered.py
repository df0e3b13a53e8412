"""The ordered bottleneck: the first k latents are a good code of k numbers, for every k.

Nested dropout (Rippel, Gelbart & Adams 2014, Learning Ordered Representations with Nested
Dropout), and a decoder that is told how long its prefix is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ae_train.network.bottleneck.plain import Plain

# Share of a step's rows whose code is not cut. The others are cut to a length of 1 to K - 1, each
# as likely: errors fall about as 1/length, so every doubling of the length counts the same. With
# chances of 1/length the shortest ones rule the loss, and a full code pays: on MNIST, 32 latents
# leave 1.5 times a plain code's error, in place of 1.1.
_UNCUT = 0.5


class Ordered(Plain):
    """z = h; a prefix is decoded with the rest of z set to 0.

    The length is read off z: unit i is absent if it and all units after it are exactly 0. The
    decoder network sees z and K numbers that are 1 for absent units, so one decoder has an
    answer of its own for each length, and is as any other decoder for a full code.
    """

    is_ordered = True
    effort = 2

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.decoder_dim = 2 * latent_dim
        chances = torch.full((latent_dim,), _UNCUT)
        if latent_dim > 1:
            chances[:-1] = (1 - _UNCUT) / (latent_dim - 1)
        self.register_buffer("ends", chances.cumsum(0)[:-1], persistent=False)
        behind = torch.ones(latent_dim, latent_dim).tril()  # [j, i] = 1 for j >= i
        self.register_buffer("behind", behind, persistent=False)

    ends: Tensor
    behind: Tensor

    def forward(self, h: Tensor) -> Tensor:
        lengths = self._lengths(len(h), h.device)
        units = torch.arange(1, self.latent_dim + 1, device=h.device)
        return h * (units <= lengths[:, None])

    def spread(self, z: Tensor) -> Tensor:
        """The code beside K numbers that are 1 for absent units, (B, 2 K)."""
        present = z.bool().to(z.dtype) @ self.behind  # non-zero numbers from each unit on
        return torch.cat([z, torch.relu(1 - present)], 1)

    def _lengths(self, rows: int, device: torch.device) -> Tensor:
        """Random prefix lengths for a step's rows, (B,): one draw from each B-th of [0, 1).

        Even shares in every step make its gradient less noisy than independent draws do.
        """
        steps = torch.randperm(rows, device=device) + torch.rand(rows, device=device)
        return torch.bucketize(steps / rows, self.ends) + 1
