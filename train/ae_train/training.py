"""Train a model: prepare the rows, choose the latent size, fit, and evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike

from ae_runtime.errors import OutputFailed, RecipeError
from ae_runtime.model.arrays import is_table
from ae_runtime.tables.columns import to_table
from ae_train.data.dataset import Dataset, fingerprint, make_dataset
from ae_train.data.tables import dataset_of_frame
from ae_train.device import Device, find_device, own_torch
from ae_train.fit.building import build
from ae_train.fit.evaluation import baseline_mse
from ae_train.fit.fitting import Epoch, Fitting, State, Stop
from ae_train.fit.keeping import model_to_keep
from ae_train.fit.preparing import prepare
from ae_train.fit.resolving import fill_in, resolve
from ae_train.fit.sizes import find_sizes
from ae_train.recipe import Recipe, Resolved
from ae_train.report.gallery import Gallery
from ae_train.run.checkpoint import Checkpoint, differences
from ae_train.run.finishing import finish
from ae_train.run.folder import Run
from ae_train.schema import Size

Show = Callable[[Epoch, float], None]
Say = Callable[[str], None]
SAVE_STATE_EVERY_S = 10.0
# Settings that a run shares with the run whose weights it starts from.
_SHARED = ("latent_dim", "arch", "bottleneck", "data.kind", "data.scaling", "fit.objective")


def train(
    x: ArrayLike | Mapping[str, Any] | Dataset,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    init: Run | str | Path | None = None,
    device: Device = "auto",
    resume: bool = False,
    overwrite: bool = False,
    show: Show | None = None,
    say: Say | None = None,
) -> Run:
    """Train an autoencoder on rows x; returns the run.

    x: (N, D) numbers, NaN where missing, uint8 images (N, H, W[, C]), windows (N, T, C) with
    recipe.data.kind = "series"; an array, or anything with shape, dtype and slicing that numpy
    takes. A table of numbers and categories: a dict of 1-d columns, or anything with the Arrow C
    stream (pandas, polars, pyarrow). Or a Dataset. init: a run whose weights and scaling the
    training starts from; its recipe is the default one. out: folder for the run; None keeps it in
    memory. It appears when the training is finished; until then OUT.part holds what `resume` goes
    on from. show: called after each epoch, with PCA's validation error; say: with lines on what is
    being done. An interrupt (Ctrl-C) ends the training with the best weights so far. The same
    arguments give the same weights, bit for bit, on the same machine. Raises DataError,
    RecipeError, DeviceUnavailable, OutputExists, OutputFailed, RunError, TrainingFailed.
    """
    before = init if isinstance(init, Run) or init is None else Run.load(init)
    recipe = recipe or (before.recipe if before else Recipe())
    data = x if isinstance(x, Dataset) else _dataset(x, recipe, before)
    place = None if out is None else Checkpoint(out, resume, overwrite)
    where = find_device(device)
    with own_torch(recipe.seed, where):
        return _Training(data, recipe, where, before, place, show, say).run(resume)


def _dataset(x: Any, recipe: Recipe, before: Run | None) -> Dataset:
    if is_table(x):
        # Categories keep the codes that the weights were trained with.
        return dataset_of_frame(to_table(x), recipe, before.schema.columns if before else None)
    return make_dataset(x, recipe.data.kind)


class _Training:
    """One call of `train`: the parts it prepares, and the run it makes of them."""

    def __init__(
        self,
        data: Dataset,
        recipe: Recipe,
        device: torch.device,
        before: Run | None,
        place: Checkpoint | None,
        show: Show | None,
        say: Say | None,
    ) -> None:
        self.place, self.show, self.say = place, show, say or (lambda line: None)
        self.before = before.model if before else None
        _check_form(before, data)
        preprocess = self.before.preprocess if self.before else None
        self.prepared = prepare(data, recipe, device, preprocess)
        self.recipe = fill_in(recipe, self.prepared)
        if before is not None:
            _check_shared(before.recipe, self.recipe)

    def run(self, resume: bool) -> Run:
        place = self.place
        if place is None:
            return self._fit(None, None)[0]
        data_id = fingerprint(self.prepared.data)
        try:
            state = place.restore(self.recipe, data_id) if resume else None
            if not resume:
                place.start(self.recipe)
            run, gallery = self._fit(state, data_id)
            # late: matplotlib takes 0.6 s to import
            from ae_train.report.document import report_html

            place.finish(run, report_html(run, place.metrics(), gallery))
        except OutputFailed as error:
            if not place.has_state:
                place.abandon()
                raise
            raise OutputFailed(f"{error}; {place.part} is kept for --resume") from None
        except Exception:  # not KeyboardInterrupt: that one is resumed
            if not resume:
                place.abandon()
            raise
        return run

    def _fit(self, state: State | None, data_id: str | None) -> tuple[Run, Gallery]:
        sizes = self._sizes(data_id or "")
        recipe = self.recipe
        if not isinstance(recipe, Resolved):
            recipe = resolve(recipe, self.prepared, sizes[-1].latent_dim)
        torch.manual_seed(recipe.seed)  # the same whether sizes were tried or not
        model, corrupt = build(recipe, self.prepared, self.before)
        prepared = self.prepared
        fitting = Fitting(
            model, recipe.fit, prepared.train, prepared.validation, corrupt, prepared.blocks
        )
        if state is not None:
            fitting.resume(state)
        pca_mse = baseline_mse(prepared.pca, prepared.validation, recipe.latent_dim)
        metrics: list[dict[str, Any]] = []
        last_save = time.monotonic()

        def after_epoch(epoch: Epoch, now: State) -> None:
            nonlocal last_save
            metrics.append(_metrics(epoch, pca_mse))
            if self.place is not None and data_id is not None:
                self.place.log(metrics[-1])
                if time.monotonic() - last_save >= SAVE_STATE_EVERY_S:
                    self.place.save_state(now, data_id)
                    last_save = time.monotonic()
            if self.show:
                self.show(epoch, pca_mse)

        stopped: Stop = fitting.run(after_epoch)
        # An interrupt must not wait; an earlier run's weights may have seen all rows.
        may_fold = stopped != "interrupt" and self.before is None
        model, gain = model_to_keep(fitting, recipe, prepared, may_fold)
        if self.place is not None:
            metrics = self.place.metrics()
        return finish(model, recipe, prepared, fitting.state, stopped, sizes, metrics, gain)

    def _sizes(self, data_id: str) -> list[Size]:
        """Try latent sizes if latent_dim is "auto"; the last one of the curve is the choice."""
        if self.recipe.latent_dim != "auto":
            return []
        place = self.place

        def tried(sizes: list[Size]) -> None:
            last = sizes[-1]
            self.say(
                f"latent {last.latent_dim}: validation MSE {last.mse:.5f}, PCA {last.pca_mse:.5f}"
            )
            if place is not None:
                place.save_sizes(sizes, data_id)

        return find_sizes(self.recipe, self.prepared, place.sizes(data_id) if place else [], tried)


def _check_form(before: Run | None, data: Dataset) -> None:
    if before is not None and before.schema.form != data.form:
        was, now = before.schema.form, data.form
        raise RecipeError(
            f"the run to go on from takes {was.kind} rows of {was.row_shape} {was.dtype}, the data "
            f"are {now.kind} rows of {now.row_shape} {now.dtype}; train anew, without init"
        )


def _check_shared(before: Recipe, now: Recipe) -> None:
    changed = [name for name in differences(before, now) if name.startswith(_SHARED)]
    if changed:
        raise RecipeError(
            f"the run to go on from has another {', '.join(changed)}; leave them as they were, or "
            "train anew, without init"
        )


def _metrics(epoch: Epoch, pca_mse: float) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        "validation_mse": epoch.validation_mse,
        "pca_mse": pca_mse,
        "lr": epoch.lr,
    }
