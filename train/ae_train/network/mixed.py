"""Mixed tables inside the model: numbers scaled, categories as one-hot numbers, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ae_train.data.form import Form
from ae_train.network.preprocess import Preprocess


class MixedPreprocess(nn.Module):
    """Scale the numbers of a row, put its categories beside them as 0 and 1, and undo both.

    A category that is missing or unknown, code -1, is all zeros: a code of its own.
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.levels = form.levels
        self.numbers = Preprocess(Form("table", form.dtype, form.row_shape))
        column = torch.arange(len(form.levels)).repeat_interleave(torch.tensor(form.levels))
        code = torch.cat([torch.arange(size) for size in form.levels])
        # For each 0 or 1 of a row, (sum of levels,): its categorical column, and its code there.
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("code", code.to(torch.int32), persistent=False)

    column: Tensor
    code: Tensor

    @property
    def integer(self) -> Tensor:
        """Mask of the numbers that are integers, (P,) bool."""
        return self.numbers.integer

    def scale_rows(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Scaled rows s, (B, W) float. x_num: (B, P), NaN is filled. x_cat: (B, Q) int32."""
        numbers = self.numbers.scale_rows(x_num)
        return torch.cat(
            [numbers, (x_cat.index_select(1, self.column) == self.code).to(numbers.dtype)], 1
        )

    def present(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Mask (B, W) bool of the numbers of scaled rows that are not missing."""
        return torch.cat([~torch.isnan(x_num), (x_cat >= 0).index_select(1, self.column)], 1)

    def unrounded_parts(self, y: Tensor) -> tuple[Tensor, ...]:
        """Numbers in data units before rounding, and probabilities. y: (B, W)."""
        width = y.shape[1] - len(self.column)
        return self.numbers.unrounded(y[:, :width]), y[:, width:]

    def unscale_rows(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(numbers (B, P), codes (B, Q) int32, probabilities (B, sum of levels)). y: (B, W)."""
        width = y.shape[1] - len(self.column)
        probability = y[:, width:]
        codes = [part.argmax(1, keepdim=True) for part in probability.split(self.levels, 1)]
        numbers = self.numbers.unscale_rows(y[:, :width])
        return numbers, torch.cat(codes, 1).to(torch.int32), probability.float()
