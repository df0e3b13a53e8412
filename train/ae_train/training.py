"""From rows and a recipe to a run: split, scale, start from PCA, fit, and judge."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ae_runtime.devices import available_cpus
from ae_runtime.errors import DataError, OutputFailed
from ae_train.data import Dataset, make_dataset, split_rows
from ae_train.fitting import Epoch, Fitting, Rows, State
from ae_train.judging import baseline_mse, describe_columns, latent_statistics, quality
from ae_train.model import Model
from ae_train.pca import default_latent_dim, fit_pca
from ae_train.preprocess import LIMIT, Preprocess, measure
from ae_train.recipe import Recipe, make_recipe, to_fields
from ae_train.run import Run, model_id
from ae_train.schema import Schema
from ae_train.workplace import Workplace

Show = Callable[[Epoch, float], None]
PROBE_ROWS = 256
SAVE_STATE_EVERY_S = 10.0
_BLOCK_ROWS = 8192


def train(
    x: ArrayLike | Dataset,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    show: Show | None = None,
) -> Run:
    """The run of training an autoencoder on rows x.

    x: (N, D) numbers, NaN where missing, or uint8 images (N, H, W) or (N, H, W, C); or a Dataset.
    out: folder for the run; None keeps it in memory. It appears when the training is finished;
    until then OUT.part holds what `resume` goes on from. show: called after each epoch with the
    PCA's validation error. The same arguments give the same weights, bit for bit, on the same
    machine. Raises DataError, RecipeError, OutputExists, OutputFailed, RunError, TrainingFailed.
    """
    recipe = make_recipe(to_fields(recipe or Recipe()))  # Recipe(...) itself checks nothing
    data = x if isinstance(x, Dataset) else make_dataset(x, recipe.data.kind)
    place = None if out is None else Workplace(out, resume, overwrite)
    with _own_torch(recipe.seed):
        return _Training(data, recipe, place, show).run(resume)


@contextlib.contextmanager
def _own_torch(seed: int) -> Iterator[None]:
    """Random state and thread count of a training, the caller's put back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(available_cpus())
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Training:
    """One call of `train`: the parts it prepares, and the run it makes of them."""

    def __init__(
        self, data: Dataset, recipe: Recipe, place: Workplace | None, show: Show | None
    ) -> None:
        self.data, self.place, self.show = data, place, show
        self.split = split_rows(len(data.x), recipe.data, recipe.seed)
        self.statistics = measure(data, self.split.train)
        self.preprocess = Preprocess(data.kind, data.dtype, data.row_shape).fit(
            self.statistics, recipe.data.scaling, data.integer
        )
        self._check_scaling(recipe.data.scaling)
        self.train = self._rows(self.split.train)
        self.validation = self._rows(self.split.validation)
        self.pca = fit_pca(self.train.s.flatten(1).numpy())
        self.recipe = self._resolve(recipe)
        self.model = Model(self.recipe, data.kind, data.dtype, data.row_shape)
        self.model.preprocess = self.preprocess
        self._check_objective()
        self.model.arch.start_from(self.pca, self.model.objective.start)

    def run(self, resume: bool) -> Run:
        fitting = Fitting(self.model, self.recipe.fit, self.train, self.validation)
        pca_mse = baseline_mse(self.pca, self.validation, self._latent_dim)
        place = self.place
        if place is None:
            fitting.run(lambda epoch, state: self._show(epoch, pca_mse))
            return self._finished(fitting.state)
        x = np.ascontiguousarray(self.data.x)
        data_id = f"{x.dtype} {x.shape} {hashlib.sha256(x.data).hexdigest()}"
        state = place.restore(self.recipe, data_id) if resume else None
        if state is not None:
            fitting.resume(state)
        last_save = time.monotonic()

        def after_epoch(epoch: Epoch, now: State) -> None:
            nonlocal last_save
            place.log(_metrics(epoch, pca_mse))
            if time.monotonic() - last_save >= SAVE_STATE_EVERY_S:
                place.save_state(now, data_id)
                last_save = time.monotonic()
            self._show(epoch, pca_mse)

        try:
            if state is None:
                place.start(self.recipe)
            fitting.run(after_epoch)
            run = self._finished(fitting.state)
            place.finish(run)
        except OutputFailed as error:
            if not place.has_state:
                place.abandon()
                raise
            raise OutputFailed(f"{error}; {place.part} is kept for --resume") from None
        except Exception:  # not KeyboardInterrupt: that one is resumed
            place.abandon()
            raise
        return run

    @property
    def _latent_dim(self) -> int:
        assert self.recipe.latent_dim is not None  # set by _resolve
        return self.recipe.latent_dim

    def _show(self, epoch: Epoch, pca_mse: float) -> None:
        if self.show:
            self.show(epoch, pca_mse)

    def _rows(self, rows: NDArray[np.int64]) -> Rows:
        """These rows in scaled space, and which of their numbers are not missing."""
        s = torch.empty((len(rows), *self.data.row_shape))
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = np.ascontiguousarray(self.data.x[rows[start : start + _BLOCK_ROWS]])
            s[start : start + _BLOCK_ROWS] = self.preprocess.scale_rows(torch.from_numpy(block))
        if self.data.dtype == "uint8":
            return Rows(s)
        present = torch.from_numpy(~np.isnan(self.data.x[rows]))
        return Rows(s, None if bool(present.all()) else present)

    def _resolve(self, recipe: Recipe) -> Recipe:
        """The recipe without gaps. Raises DataError if the code would be larger than the data."""
        latent_dim = recipe.latent_dim or default_latent_dim(self.pca)
        numbers, rows = self.data.numbers, len(self.split.train)
        limit, what = min((numbers, "numbers of a row"), (rows, "training rows"))
        if latent_dim > limit:
            raise DataError(
                f"latent_dim = {latent_dim} is larger than the {limit} {what}; "
                f"choose at most {limit}"
            )
        data = msgspec.structs.replace(recipe.data, kind=self.data.kind)
        return msgspec.structs.replace(recipe, latent_dim=latent_dim, data=data)

    def _check_scaling(self, scaling: str) -> None:
        varies = (self.preprocess.gain > 0).numpy()
        if not varies.any():
            raise DataError("nothing varies over the training rows; there is nothing to learn from")
        largest = np.abs([self.statistics.min, self.statistics.max])[:, varies].max()
        if scaling == "none" and largest > LIMIT:
            raise DataError(
                f"scaling = 'none' takes values up to {LIMIT:.0e}, the data hold {largest:.4g}; "
                "use scaling = 'standard'"
            )

    def _check_objective(self) -> None:
        scaling = self.recipe.data.scaling
        for rows in (self.train, self.validation) if scaling != "range" else (self.train,):
            self.model.objective.check(rows.s, scaling)

    def _finished(self, state: State) -> Run:
        """The run of the weights that were kept."""
        recipe, data, split = self.recipe, self.data, self.split
        is_pca = (
            state.best_epoch == 0
            and recipe.arch.pca_path
            and self.model.bottleneck.is_identity
            and recipe.fit.objective == "mse"
        )
        if is_pca:
            self.model = _without_networks(self.model, recipe, data)
        test = self._rows(split.test)
        held_out, rows = (test, split.test) if len(test) else (self.validation, split.validation)
        columns = None
        if data.kind == "table":
            columns = describe_columns(self.model, data, self.statistics, held_out, data.x[rows])
        z_mean, z_deviation = latent_statistics(self.model, self.train)
        schema = Schema(
            model_id=model_id(self.model, recipe, data),
            kind=data.kind,
            dtype=data.dtype,
            row_shape=data.row_shape,
            columns=columns,
            quality=quality(self.model, self.pca, self._latent_dim, self.validation, test, is_pca),
            x_deviation=np.nan_to_num(self.statistics.deviation).tolist(),
            z_mean=z_mean,
            z_deviation=z_deviation,
            rows={name: len(getattr(split, name)) for name in ("train", "validation", "test")},
            epochs=state.epoch,
            best_epoch=state.best_epoch,
        )
        return Run(recipe, schema, self.model.eval(), np.array(data.x[rows[:PROBE_ROWS]]), split)


def _without_networks(model: Model, recipe: Recipe, data: Dataset) -> Model:
    """The same model, its networks, which add nothing, left out: PCA."""
    bare = Model(recipe, data.kind, data.dtype, data.row_shape, networks=False)
    weights = model.state_dict()
    bare.load_state_dict({name: weights[name] for name in bare.state_dict()})
    return bare.eval()


def _metrics(epoch: Epoch, pca_mse: float) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        "validation_mse": epoch.validation_mse,
        "pca_mse": pca_mse,
        "lr": epoch.lr,
    }
