"""The autoencoder as estimators of scikit-learn: a transformer and an outlier detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ae_runtime.errors import RecipeError, ScoreUnknown
from ae_runtime.model.arrays import check_mask
from ae_runtime.tables.columns import to_table
from ae_runtime.tables.frames import frame_like, has_words, restored
from ae_runtime.tables.table import Table, from_blocks, to_blocks
from ae_train.data.dataset import MIN_ROWS
from ae_train.network.model import in_float64
from ae_train.recipe import Recipe, make_recipe, merge, to_fields
from ae_train.training import train

Array = NDArray[Any]
_ROWS = 4096  # rows, computed at once
# Parameters that stand for a setting of the recipe.
_PLACES = {
    "latent_dim": "latent_dim",
    "width": "arch.width",
    "depth": "arch.depth",
    "dropout": "arch.dropout",
    "bottleneck": "bottleneck.name",
    "lr": "fit.lr",
    "batch": "fit.batch",
    "epochs": "fit.epochs",
    "score_name": "score.name",
    "false_alarm_rate": "score.false_alarm_rate",
    "trim": "score.trim",
}


class _Autoencoder(BaseEstimator):
    """Settings, fit and checks of rows that the estimators share."""

    def __init__(
        self,
        latent_dim: int | str | None = None,
        *,
        width: int | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        bottleneck: str | None = None,
        lr: float | None = None,
        batch: int | None = None,
        epochs: int | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        warm_start: bool = False,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.latent_dim = latent_dim
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.bottleneck = bottleneck
        self.lr = lr
        self.batch = batch
        self.epochs = epochs
        self.recipe = recipe
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:  # scikit-learn's name
        """The estimator, trained on X.

        X: (N, D) numbers, NaN where missing, or a pandas or polars frame, which may hold text,
        booleans and dates. y: ignored. Raises ValueError (DataError, RecipeError) for what cannot
        be learned.
        """
        before = getattr(self, "run_", None) if self.warm_start else None
        recipe = self._recipe()
        rows = self._rows(X, reset=before is None, least=MIN_ROWS)
        try:
            self.run_ = train(rows, recipe, init=before, device=self.device)  # type: ignore[arg-type]
        except RecipeError as error:  # in the terms of scikit-learn
            raise RecipeError(str(error).replace("without init", "with warm_start=False")) from None
        self._model = in_float64(self.run_.model.cpu())
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the anomaly scores of rows, (N,) float64: lower is more anomalous."""
        check_is_fitted(self)
        scorer = self.run_.scorer
        if scorer is None:
            raise ScoreUnknown('the recipe has no scores ([score] name = "none"); train with one')
        blocks = []
        for some in _blocks(self._arrays(self._rows(X))):
            z = self._model.encode(*some)
            blocks.append(-scorer(*some, z, *self._model.decode_parts(z))[0].double())
        scores: NDArray[np.float64] = torch.cat(blocks).numpy()
        return scores

    def _recipe(self) -> Recipe:
        """The recipe, with the parameters that are given in place of its values."""
        fields: dict[str, Any] = {"data": {"test": 0.0}}
        before = self.run_.recipe if self.warm_start and hasattr(self, "run_") else None
        if before is not None:  # what its weights are made for
            fixed = to_fields(before)
            merge(fields, {name: fixed[name] for name in ("latent_dim", "arch", "bottleneck")})
        own = self.recipe or {}
        merge(fields, to_fields(own) if isinstance(own, Recipe) else own)
        for name, place in _PLACES.items():
            value = getattr(self, name, None)
            if value is not None:
                section, _, key = place.rpartition(".")
                merge(fields, {section: {key: value}} if section else {key: value})
        if before is not None and fields["latent_dim"] == "auto":
            fields["latent_dim"] = before.latent_dim
        seed = self.random_state
        if seed is None or not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(1 << 31)
        recipe = make_recipe(fields | {"seed": int(seed)})
        if recipe.data.kind not in (None, "table"):
            raise RecipeError(
                f"recipe: [data] kind = {recipe.data.kind!r}; rows of X are a table's"
            )
        return recipe

    def _rows(self, X: Any, reset: bool = False, least: int = 1) -> Any:
        """X checked: an array (N, D), or a table of columns by name. least: rows at least."""
        if has_words(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return to_table(X)
        check_mask(X, "X")
        wanted = self.latent_dim if isinstance(self.latent_dim, int | np.integer) else 1
        x = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            ensure_min_samples=least,
            ensure_min_features=wanted if reset else 1,
        )
        return to_table(X) if hasattr(self, "feature_names_in_") else x

    def _arrays(self, rows: Any) -> tuple[Array, ...]:
        """The arrays that the encoder takes."""
        schema = self.run_.schema
        if isinstance(rows, Table):
            numbers, codes = to_blocks(rows, schema.columns or [])
            return (numbers, codes) if schema.form.is_mixed else (numbers,)
        return (rows.astype(schema.dtype, copy=False),)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Autoencoder):
    """An autoencoder that learns rows of numbers and categories, and gives their latents.

    latent_dim: numbers that stand for a row, "auto" to try sizes. width, depth, dropout: of the
    networks. bottleneck: its name. lr, batch, epochs: of the training. None: as the recipe says.
    recipe: all other settings, a Recipe or a dict as in TOML, {"data": {"scaling": "robust"}};
    without it the defaults, a tenth of the rows to validate on, and none held out. warm_start: fit
    goes on from the weights of the last fit. random_state: the seed. device: "auto", "cpu" or
    "cuda", of the training.

    After fit: run_, the training's Run, which ae_export.export takes; n_features_in_,
    feature_names_in_ of a frame. Latents are computed in float64, so that a row's do not depend on
    the rows beside it, and given as float32.
    """

    @property
    def _n_features_out(self) -> int:
        return self.run_.schema.latent_dim

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Latents (N, K) float32 of rows like those of fit."""
        check_is_fitted(self)
        parts = self._arrays(self._rows(X))
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

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean squared error of the rows' reconstruction in scaled space, 0 at best.

        What a search without `scoring` goes by. y: ignored.
        """
        check_is_fitted(self)
        squares, count = 0.0, 0
        for some in _blocks(self._arrays(self._rows(X))):
            preprocess = self._model.preprocess
            s, present = preprocess.scale_rows(*some), preprocess.present(*some)
            errors = (self._model.reconstruct_scaled(s) - s).square()
            there = errors if present is None else errors[present]
            squares, count = squares + float(there.sum()), count + there.numel()
        return -squares / max(count, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class AutoencoderDetector(OutlierMixin, _Autoencoder):
    """An autoencoder that learns what is ordinary, and tells which rows are not.

    score_name: of the anomaly score, "nearest" or another one of the recipe's. false_alarm_rate:
    share of ordinary rows that are called outliers. trim: share of X, the most anomalous rows, that
    scores and threshold are fitted without. None: as the recipe says. The other parameters are
    those of AutoencoderTransformer.

    After fit: run_, n_features_in_ and feature_names_in_ as there; offset_, minus the threshold. A
    bundle that ae_export.export makes of run_ finds the same outliers.
    """

    def __init__(
        self,
        latent_dim: int | str | None = None,
        *,
        width: int | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        bottleneck: str | None = None,
        lr: float | None = None,
        batch: int | None = None,
        epochs: int | None = None,
        score_name: str | None = None,
        false_alarm_rate: float | None = None,
        trim: float | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        warm_start: bool = False,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        super().__init__(
            latent_dim,
            width=width,
            depth=depth,
            dropout=dropout,
            bottleneck=bottleneck,
            lr=lr,
            batch=batch,
            epochs=epochs,
            recipe=recipe,
            warm_start=warm_start,
            random_state=random_state,
            device=device,
        )
        self.score_name = score_name
        self.false_alarm_rate = false_alarm_rate
        self.trim = trim

    @property
    def offset_(self) -> float:
        """Minus the threshold that scores are compared with, in float32 as a bundle compares."""
        check_is_fitted(self)
        threshold = self.run_.schema.threshold
        assert threshold is not None  # fit asked for scores
        return -float(np.float32(threshold.value))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Distances of the scores of rows to the threshold, (N,) float64: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for each row that is an outlier, 1 for each other one, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _recipe(self) -> Recipe:
        recipe = super()._recipe()
        if recipe.score.name == "none":
            raise RecipeError('recipe: [score] name = "none"; a detector needs one')
        return recipe


@torch.no_grad()
def _blocks(parts: tuple[Array, ...]) -> Any:
    for start in range(0, len(parts[0]), _ROWS):
        yield tuple(torch.from_numpy(part[start : start + _ROWS].copy()) for part in parts)
