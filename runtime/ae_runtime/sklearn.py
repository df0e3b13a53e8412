"""A bundle as estimators of scikit-learn, without torch: a transformer and an outlier detector."""

from __future__ import annotations

from math import prod
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.extras import need
from ae_runtime.model import scoring
from ae_runtime.model.arrays import as_array, is_table
from ae_runtime.model.prefix import check_keep
from ae_runtime.tables.frames import frame_like, is_frame, is_polars, restored

base = need("sklearn.base", "sklearn")
validation = need("sklearn.utils.validation", "sklearn")
Array = NDArray[Any]


class _Bundle(base.BaseEstimator):
    """What the estimators below have in common: the bundle opened, and rows as it takes them."""

    bundle: Autoencoder | str | PathLike[str] | bytes
    device: str
    threads: int | None
    score_name: str | None = None
    _ae: Autoencoder
    _opened: tuple[Any, ...] = ()

    def fit(self, X: Any, y: Any = None) -> Self:  # scikit-learn's name
        """The estimator itself, the bundle loaded and X's columns known.

        Raises DataError for rows that the bundle does not take, and what load raises.
        """
        self._open()
        validation.validate_data(self, X, reset=True, skip_check_array=True)
        self._ae.arrays_of(self._rows(X))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the anomaly scores of rows, (N,) float64: lower is more anomalous."""
        return -self._open().score(self._rows(X), self.score_name).astype(np.float64)

    def _open(self) -> Autoencoder:
        if self._opened != self._asked:  # set_params may have named another one
            if isinstance(self.bundle, Autoencoder):
                ae = self.bundle
            else:
                ae = load(self.bundle, device=self.device, threads=self.threads)
            self._ae, self._opened = ae, self._asked
        return self._ae

    @property
    def _asked(self) -> tuple[Any, ...]:
        return self.bundle, self.device, self.threads

    def _rows(self, X: Any) -> Any:
        """X as the bundle takes it."""
        ae = self._open()
        if ae.manifest.is_mixed or (is_table(X) and len(ae.input_shape) == 1):
            return X
        x = np.asarray(X) if is_table(X) else as_array(X, "X")
        is_flat = x.ndim == 2 and len(ae.input_shape) > 1 and x.shape[1] == prod(ae.input_shape)
        return x.reshape(-1, *ae.input_shape) if is_flat else x

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.allow_nan = True
        return tags


class BundleTransformer(base.ClassNamePrefixFeaturesOutMixin, base.TransformerMixin, _Bundle):
    """The latents of rows, by a bundle that was trained before: fit learns nothing.

    bundle: an Autoencoder, or what ae_runtime.load takes. keep: of ordered latents, the first so
    many. device, threads: as in load.

    A pickle holds the bundle itself, and needs its file no more.
    """

    def __init__(
        self,
        bundle: Autoencoder | str | PathLike[str] | bytes,
        *,
        keep: int | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.keep = keep
        self.device = device
        self.threads = threads

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Latents (N, K) float32. X: (N, features), rows of images or windows flat or as they are.

        Of a table also a frame or a dict, by name. Raises what Autoencoder.encode raises.
        """
        return self._open().encode(self._rows(X), keep=self.keep)

    def inverse_transform(self, X: Any) -> Any:
        """Rows that latents X (N, K) stand for, (N, features).

        Of a frame of latents a frame, with its index. Words come as objects.
        """
        ae = self._open()
        back = ae.decode(X if is_table(X) else np.asarray(X, np.float32))
        columns = ae.manifest.columns or ()
        if ae.manifest.is_mixed:
            return frame_like(X, restored(back, columns))
        flat = back.reshape(len(back), -1)
        if not (is_frame(X) or is_polars(X)):
            return flat
        names = ae.manifest.column_names
        if names is None:
            return frame_like(X, {f"x{at}": values for at, values in enumerate(flat.T)})
        return frame_like(X, restored(dict(zip(names, flat.T, strict=True)), columns))

    @property
    def _n_features_out(self) -> int:
        return self.keep or self._open().latent_dim

    def _open(self) -> Autoencoder:
        ae = super()._open()
        if self.keep is not None:
            check_keep(ae.manifest.latent, self.keep)
        return ae

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class BundleDetector(base.OutlierMixin, _Bundle):
    """The outliers among rows, by a bundle that was trained before: fit learns nothing.

    bundle: an Autoencoder, or what ae_runtime.load takes. score_name: one of the bundle's scores;
    None for its default. threshold, false_alarm_rate: as in Autoencoder.is_anomaly, which gives the
    same outliers. device, threads: as in load.

    A pickle holds the bundle itself, and needs its file no more.
    """

    def __init__(
        self,
        bundle: Autoencoder | str | PathLike[str] | bytes,
        *,
        score_name: str | None = None,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.score_name = score_name
        self.threshold = threshold
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.threads = threads

    @property
    def offset_(self) -> float:
        """Minus the threshold that scores are compared with."""
        asked = self.score_name, self.threshold, self.false_alarm_rate
        limit = scoring.limit_of(self._open().manifest, *asked)
        return -float(np.float32(limit))  # is_anomaly compares in float32, too

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """How far rows are from the threshold, (N,) float64: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for each row that is an outlier, 1 for each other one, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _open(self) -> Autoencoder:
        ae = super()._open()
        scoring.place_of(ae.manifest, self.score_name)  # is there such a score?
        return ae
