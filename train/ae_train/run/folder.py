"""The folder of a training: a trained model with all that export needs, saved and loaded."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import tomli_w
from numpy.typing import NDArray

from ae_runtime import outputs
from ae_runtime.bundle.manifest import Column
from ae_runtime.bundle.opening import MANIFEST
from ae_runtime.errors import RecipeError, RunError
from ae_train.data.dataset import Split
from ae_train.data.form import Form
from ae_train.network.model import Model
from ae_train.network.sampler import Sampler
from ae_train.network.scorer import Scorer
from ae_train.recipe import Recipe, Resolved, as_resolved, make_recipe, read_recipe, to_fields
from ae_train.schema import Schema, dump_schema, parse_schema

RECIPE, SCHEMA, WEIGHTS = "recipe.toml", "schema.json", "model.safetensors"
SCORER, SAMPLER = "scorer.safetensors", "sampler.safetensors"
PROBE, SPLIT = "probe.npz", "split.npz"
PARTS = "x", "x_cat"  # arrays of PROBE: held-out rows
TRAINING_PARTS = "train_x", "train_x_cat"  # and training rows


@dataclass
class Run:
    """A finished training.

    model: in data units, see model.Model. probe: held-out rows that export verifies graphs on, as
    the encoder takes them: (P, ...), or numbers and codes of a mixed table. split: which rows
    were trained on, validated on and held out. calibration: some training rows, as probe, that
    export finds the ranges of int8 with; () in runs of an earlier version. scorer: how anomalous
    rows are; None where no score was wanted, and in runs of an earlier version. sampler: draws new
    latents; None in runs of an earlier version.
    """

    recipe: Resolved
    schema: Schema
    model: Model
    probe: tuple[NDArray[Any], ...]
    split: Split
    folder: Path | None = None
    calibration: tuple[NDArray[Any], ...] = ()
    scorer: Scorer | None = None
    sampler: Sampler | None = None

    @property
    def model_id(self) -> str:
        """SHA-256 of the trained weights and of what makes them a model."""
        return self.schema.model_id

    def save(self, folder: Path) -> None:
        """Write the run's files into an existing folder, each whole or not at all."""
        write = outputs.write_atomic
        write(folder / RECIPE, tomli_w.dumps(to_fields(self.recipe)).encode())
        write(folder / WEIGHTS, safetensors.torch.save(self.model.state_dict()))
        if self.scorer is not None:
            write(folder / SCORER, safetensors.torch.save(self.scorer.state_dict()))
        if self.sampler is not None:
            write(folder / SAMPLER, safetensors.torch.save(self.sampler.state_dict()))
        probe = dict(zip(PARTS, self.probe, strict=False))
        probe |= dict(zip(TRAINING_PARTS, self.calibration, strict=False))
        write(folder / PROBE, to_npz(probe))
        split = self.split
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        write(folder / SPLIT, to_npz(parts))
        write(folder / SCHEMA, dump_schema(self.schema))

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """The run that ae-train left in `folder`. Raises RunError if there is none."""
        folder = Path(folder)
        if not is_run(folder):
            what = "is a file, not a run" if folder.is_file() else "does not exist"
            what = "holds no finished run" if folder.is_dir() else what
            part = outputs.part_of(folder)
            hint = f"; {part} holds an unfinished one: ae-train --resume" if part.is_dir() else ""
            if (folder / MANIFEST).is_file():
                hint = "; it is a bundle already, ae-run works with it"
            raise RunError(f"{folder} {what}{hint}")
        try:
            recipe = as_resolved(make_recipe(read_recipe(folder / RECIPE), str(folder / RECIPE)))
            schema = parse_schema((folder / SCHEMA).read_bytes())
            model = make_model(recipe, schema)
            model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
            scorer = _load_scorer(folder, model, schema)
            sampler = _load_sampler(folder, model)
            stored = _read_npz(folder / PROBE)
            count = 1 + schema.form.is_mixed
            probe = tuple(stored[name] for name in PARTS[:count])
            calibration = tuple(stored[n] for n in TRAINING_PARTS[:count] if n in stored)
            parts = _read_npz(folder / SPLIT)
        except (RecipeError, RunError) as error:
            raise RunError(f"{folder} is damaged: {error}") from None
        except (
            OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError,
        ) as error:  # fmt: skip
            reason = " ".join(str(error).split())
            raise RunError(f"{folder} is damaged ({reason}); train again") from None
        return cls(
            recipe,
            schema,
            model.eval(),
            probe,
            Split(**parts),
            folder,
            calibration,
            scorer,
            sampler,
        )


def model_id(model: Model, recipe: Recipe, form: Form, columns: list[Column] | None) -> str:
    """SHA-256 of the weights, the settings that make them a function, and the rows they are for."""
    fields = to_fields(recipe)
    rows = [form.kind, form.dtype, form.row_shape, msgspec.to_builtins(columns)]
    settings = [fields["arch"], fields["bottleneck"], fields["fit"]["objective"]]
    meaning = {"settings": settings, "rows": rows}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    digest.update(safetensors.torch.save(model.state_dict()))
    return digest.hexdigest()


def make_model(recipe: Resolved, schema: Schema) -> Model:
    """A model without weights for a run; one that found nothing better than PCA has no networks."""
    return Model(recipe, schema.form, networks=not schema.quality.is_pca)


def _load_scorer(folder: Path, model: Model, schema: Schema) -> Scorer | None:
    if schema.threshold is None:
        return None
    tensors = safetensors.torch.load_file(folder / SCORER)
    return Scorer(model.preprocess, tensors, schema.threshold.score).eval()


def _load_sampler(folder: Path, model: Model) -> Sampler | None:
    if not (folder / SAMPLER).is_file():
        return None
    return Sampler(model.bottleneck, safetensors.torch.load_file(folder / SAMPLER)).eval()


def is_run(folder: Path) -> bool:
    """Whether folder holds a finished run of ours."""
    return all((folder / name).is_file() for name in (RECIPE, SCHEMA, WEIGHTS))


def to_npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    """The bytes of an .npz archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile):  # numpy's message advises pickle
        raise ValueError(f"{path.name} is not a readable .npz archive") from None
