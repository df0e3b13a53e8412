"""The autoencoder as a transformer of scikit-learn: fit, transform, inverse_transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ae_runtime.errors import RecipeError, ScoreUnknown
from ae_runtime.model.arrays import check_mask
from ae_runtime.tables.columns import to_table
from ae_runtime.tables.frames import frame_like, has_words, restored
from ae_runtime.tables.table import Table, from_blocks, to_blocks
from ae_train.data.dataset import MIN_ROWS
from ae_train.network.model import in_float64
from ae_train.recipe import Recipe, make_recipe, to_fields
from ae_train.training import train

Array = NDArray[Any]
_ROWS = 4096  # computed at once


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An autoencoder that learns rows of numbers and categories, and gives their latents.

    recipe: how to train, a Recipe or a dict as in TOML, {"arch": {"width": 64}}; without it the
    defaults, a tenth of the rows to validate on, and none held out. latent_dim ("auto" to try
    sizes), bottleneck, epochs: if given, in place of the recipe's. random_state: the seed. device:
    "auto", "cpu" or "cuda", of the training.

    After fit: run_, the training's Run, which ae_export.export takes; n_features_in_,
    feature_names_in_ of a frame. Latents are computed in float64, so that a row's do not depend on
    the rows beside it, and given as float32.
    """

    def __init__(
        self,
        latent_dim: int | str | None = None,
        *,
        bottleneck: str | None = None,
        epochs: int | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.latent_dim = latent_dim
        self.bottleneck = bottleneck
        self.epochs = epochs
        self.recipe = recipe
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:  # scikit-learn's name
        """The transformer, trained on X.

        X: (N, D) numbers, NaN where missing, or a pandas frame, which may hold text, booleans and
        dates. y: ignored. Raises ValueError (DataError, RecipeError) for what cannot be learned.
        """
        rows = self._rows(X, reset=True)
        self.run_ = train(rows, self._recipe(), device=self.device)  # type: ignore[arg-type]
        self._model = in_float64(self.run_.model.cpu())
        self._n_features_out = self.run_.schema.latent_dim
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Latents (N, K) float32 of rows like those of fit."""
        check_is_fitted(self)
        parts = self._parts(self._rows(X))
        latents = [self._model.encode(*some).float() for some in _blocks(parts)]
        z: NDArray[np.float32] = torch.cat(latents).numpy()
        return z

    def inverse_transform(self, X: Any) -> Any:
        """Rows that latents X (N, K) stand for, in the columns and units of fit.

        An array; of a frame of latents a frame with its index; categories as objects.
        """
        check_is_fitted(self)
        z = check_array(X, dtype=np.float64, ensure_min_features=0)
        if z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {z.shape[1]} latents, but {type(self).__name__} gives "
                f"{self._n_features_out}"
            )
        blocks = [self._model.decode_parts(some)[:2] for (some,) in _blocks((z,))]
        arrays = [torch.cat(part).numpy() for part in zip(*blocks, strict=True)]
        columns = self.run_.schema.columns or []
        if not self.run_.schema.form.is_mixed:
            arrays = [arrays[0], np.empty((len(z), 0), np.int32)]
        table = restored(from_blocks(arrays[0], arrays[1], columns), columns)
        names = getattr(self, "feature_names_in_", None)
        ordered = {name: table[name] for name in (table if names is None else names)}
        return frame_like(X, ordered)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the anomaly scores of rows, (N,) float64: lower is more anomalous, 0 the most."""
        check_is_fitted(self)
        scorer = self.run_.scorer
        if scorer is None:
            raise ScoreUnknown('the recipe has no scores ([score] name = "none"); train with one')
        blocks = []
        for some in _blocks(self._parts(self._rows(X))):
            z = self._model.encode(*some)
            blocks.append(-scorer(*some, z, *self._model.decode_parts(z))[0].double())
        scores: NDArray[np.float64] = torch.cat(blocks).numpy()
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean squared error of the rows' reconstruction in scaled space, 0 at best.

        What a search without `scoring` goes by. y: ignored.
        """
        check_is_fitted(self)
        squares, count = 0.0, 0
        for some in _blocks(self._parts(self._rows(X))):
            preprocess = self._model.preprocess
            s, present = preprocess.scale_rows(*some), preprocess.present(*some)
            errors = (self._model.reconstruct_scaled(s) - s).square()
            there = errors if present is None else errors[present]
            squares, count = squares + float(there.sum()), count + there.numel()
        return -squares / max(count, 1)

    def _recipe(self) -> Recipe:
        fields = (
            to_fields(self.recipe) if isinstance(self.recipe, Recipe) else dict(self.recipe or {})
        )
        fields = {name: dict(v) if isinstance(v, Mapping) else v for name, v in fields.items()}
        data = fields.setdefault("data", {})
        if data.setdefault("kind", "table") != "table":
            raise RecipeError(f"recipe: [data] kind = {data['kind']!r}; rows of X are a table's")
        data.setdefault("test", 0.0)
        if self.bottleneck is not None:
            fields["bottleneck"] = fields.get("bottleneck", {}) | {"name": self.bottleneck}
        if self.latent_dim is not None:
            fields["latent_dim"] = self.latent_dim
        if self.epochs is not None:
            fields["fit"] = fields.get("fit", {}) | {"epochs": self.epochs}
        seed = self.random_state
        if seed is None or not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(1 << 31)
        return make_recipe(fields | {"seed": int(seed)})

    def _rows(self, X: Any, reset: bool = False) -> Any:
        """X checked: an array (N, D), or a table of columns by name."""
        if has_words(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return to_table(X)
        check_mask(X, "X")
        least = {"ensure_min_samples": MIN_ROWS} if reset else {}
        if reset and isinstance(self.latent_dim, int | np.integer):
            least["ensure_min_features"] = self.latent_dim
        x = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            **least,
        )
        return to_table(X) if hasattr(self, "feature_names_in_") else x

    def _parts(self, rows: Any) -> tuple[Array, ...]:
        """The arrays that the encoder takes."""
        schema = self.run_.schema
        if isinstance(rows, Table):
            numbers, codes = to_blocks(rows, schema.columns or [])
            return (numbers, codes) if schema.form.is_mixed else (numbers,)
        return (rows.astype(schema.dtype, copy=False),)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


@torch.no_grad()
def _blocks(parts: tuple[Array, ...]) -> Any:
    for start in range(0, len(parts[0]), _ROWS):
        yield tuple(torch.from_numpy(part[start : start + _ROWS].copy()) for part in parts)
