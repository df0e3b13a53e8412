"""The recipe of a training: every setting with its unit and range, read from TOML and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from ae_runtime.bundle.manifest import Reading
from ae_runtime.errors import RecipeError, SourceNotFound
from ae_train.recipe_check import choices, complaints, fields_of

# The names that a choice may have are listed here and nowhere else. That of a network or of a
# bottleneck is its file in network/arch or network/bottleneck, and its class.

ArchName = Literal["dense", "conv", "gru"]
Objective = Literal["mse", "mae", "huber", "bce", "mixed"]

# Defaults of settings that depend on other settings or on the data.
# Hidden units, hidden layers, and share of units dropped, by network.
ARCH_SIZES: dict[ArchName, dict[str, float]] = {
    "dense": {"width": 256, "depth": 2, "dropout": 0.1},
    "conv": {"width": 16, "depth": 2, "dropout": 0.0},
    "gru": {"width": 64, "depth": 1, "dropout": 0.0},
}
# Time steps of a window, or this part of a short series: a window each for validation and test, and
# several to learn from. The stride grows where it makes more windows than that.
WINDOW, SHORT_SERIES, MAX_WINDOWS = 64, 8, 50_000
CONV_PIXELS = 16  # pixels of the shorter side, from which on an image's network is conv, not dense
ACTIVE_SHARE, BETA, LEVELS = 0.25, 1.0, 8  # for sparse, variational, quantized
CORRUPTION = 0.1  # std of the noise, or share of the numbers
MIN_LATENTS, MAX_LATENTS = 2, 64
LEFT_OVER = 0.1  # share of the variance that PCA, or with "auto" the network, leaves at most
# Steps are what a training is made of: with fewer the errors of most tables still fall, and more
# take long on large data. Small data are seen at most 200 times.
STEPS, MIN_EPOCHS, MAX_EPOCHS = 12_000, 10, 200


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """[data]: what the rows are and how they are split and scaled."""

    # what a row is; left out: uint8 arrays of 3 or 4 axes and folders are images, the rest tables
    kind: Literal["table", "image", "series"] | None = None
    # share of the rows to validate on, or "train" to validate on the training rows themselves
    validation: Annotated[float, Meta(gt=0, lt=1)] | Literal["train"] = 0.1
    # share of the rows held out until the end; 0 for none
    test: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    # one scale per table column, image channel or series channel: (x - mean) / std,
    # (x - median) / (IQR / 1.349), (x - min) / (max - min), or x as it is
    scaling: Literal["standard", "robust", "range", "none"] = "standard"
    # columns of a table or series that are used; left out: all
    columns: list[str] | None = None
    # columns that are not used
    drop: list[str] | None = None
    # columns that say which row it is; they are not learned
    id: list[str] | None = None
    # rows with the same value in this column go into the same part of the split; not learned
    split_by: str | None = None
    # what columns hold, where it is found out wrongly: types.zip = "category"
    types: dict[str, Literal["number", "category", "boolean", "date"]] = {}
    # most categories of a column that are told apart; the rarer become "other"; 2 to 1000
    max_levels: Annotated[int, Meta(ge=2, le=100_000)] = 100
    # the row of a text file that holds the names of the columns: "yes" for the first that may,
    # "no" for none, or its number, from 1; left out: found
    header: Literal["yes", "no"] | Annotated[int, Meta(ge=1, le=40)] | None = None
    # sign before decimals in text; left out: found, a point where the text does not show it
    decimal: Literal[".", ","] | None = None
    # sign between thousands in text; left out: found, none where the text does not show it
    thousands: Literal[",", ".", " ", "'"] | None = None
    # numbers and text that stand for a missing value, beside the usual ones (NA, null, ...)
    missing: list[float | str] | None = None
    # time steps of a series that are one row; left out: 64, or an eighth of a short series
    window: Annotated[int, Meta(ge=1)] | None = None
    # time steps from one window to the next; left out: 1, or more where that makes over 50,000
    stride: Annotated[int, Meta(ge=1)] | None = None
    # [height, width] in pixels that the images of a folder are resized to; left out: not at all
    resize: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=2, max_length=2)] | None = (
        None
    )
    # an image that cannot be read ends the command, or is left out and named
    unreadable: Literal["stop", "skip"] = "stop"

    @property
    def reading(self) -> Reading:
        """The settings for reading text files; empty where nothing is set."""
        return Reading(self.decimal, self.thousands, self.missing or [])

    @property
    def reading_said(self) -> Reading | None:
        """The settings for reading text files; None where nothing is set."""
        return None if self.reading == Reading() else self.reading


class Arch(Struct, frozen=True, forbid_unknown_fields=True):
    """[arch]: the two networks."""

    # left out: conv for images of at least 16 x 16 pixels, dense for the rest
    name: ArchName | None = None
    # units of a hidden layer, channels for conv; 16 to 4096; left out: the network's own default
    width: Annotated[int, Meta(ge=1, le=65536)] | None = None
    # hidden layers on either side, stages for conv; 0 for none, rarely above 4
    depth: Annotated[int, Meta(ge=0, le=64)] | None = None
    # share of hidden units dropped at a training step; 0 to 0.5; left out: 0.1 for dense
    dropout: Annotated[float, Meta(ge=0, lt=1)] | None = None
    activation: Literal["silu", "relu", "gelu", "tanh"] = "silu"
    # applied to the code itself; "none" unless pca_path is false
    code_activation: Literal["none", "relu", "tanh", "sigmoid"] = "none"
    # start from PCA and learn what is better; false: a plain network from random weights
    pca_path: bool = True


class Bottleneck(Struct, frozen=True, forbid_unknown_fields=True):
    """[bottleneck]: what the code is made to be."""

    name: Literal["plain", "ordered", "sparse", "variational", "quantized"] = "plain"
    # sparse: latents of a row that are not zero; left out: a fourth of them
    active: Annotated[int, Meta(ge=1)] | None = None
    # variational: weight of the KL divergence; left out: 1; 0.1 to 10
    beta: Annotated[float, Meta(gt=0)] | None = None
    # quantized: values that a latent can take; left out: 8; 2 to 64
    levels: Annotated[int, Meta(ge=2, le=256)] | None = None

    def settings(self, latent_dim: int) -> dict[str, float]:
        """Settings that the bottleneck of that name reads, by key; defaults for those left out."""
        active = max(1, int(ACTIVE_SHARE * latent_dim))
        defaults = {"active": active, "beta": BETA, "levels": LEVELS}
        values = {key: getattr(self, key) for key in defaults}
        return {
            key: default if values[key] is None else values[key]
            for key, default in defaults.items()
            if self.name in BELONGS["bottleneck", key]
        }


class Corruption(Struct, frozen=True, forbid_unknown_fields=True):
    """[corruption]: what is done to a row before the encoder sees it, in training only."""

    name: Literal["none", "gaussian", "mask", "swap"] = "none"
    # gaussian: std of the noise in scaled space (left out: 0.1); mask: share of the numbers
    # that are hidden, swap: share taken from other rows (left out: 0.1)
    amount: Annotated[float, Meta(gt=0)] | None = None


class Fit(Struct, frozen=True, forbid_unknown_fields=True):
    """[fit]: the loss and how it is minimised."""

    # what is minimised; bce needs scaled data in [0, 1]; left out: mixed for tables with
    # categories (squared error of numbers, cross-entropy of categories), mse for the rest
    objective: Objective | None = None
    optimizer: Literal["adamw", "adadelta"] = "adamw"
    # learning rate: 1e-4 to 1e-2 for adamw, 1 for adadelta
    lr: Annotated[float, Meta(gt=0)] = 1e-3
    # over all epochs: half a cosine down to 0, or no change
    schedule: Literal["cosine", "constant"] = "cosine"
    # rows a step; 32 to 4096
    batch: Annotated[int, Meta(ge=1)] = 256
    # passes over the training rows at most; 0 keeps the start, which is PCA on a pca_path;
    # left out: as many as make 12,000 steps, from 10 to 200; twice as many for an ordered code
    epochs: Annotated[int, Meta(ge=0)] | None = None
    # epochs without a better validation error after which training stops; for keep = "best" only
    patience: Annotated[int, Meta(ge=1)] = 20
    # decoupled for adamw, an L2 penalty for adadelta
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    # largest norm of a step's gradient; 0 for no limit
    clip: Annotated[float, Meta(ge=0)] = 1.0
    # which weights are saved: the best on validation rows, the start included, or the last
    keep: Literal["best", "last"] = "best"


class Scoring(Struct, frozen=True, forbid_unknown_fields=True):
    """[score]: how anomalous a row is; fitted when the model is trained."""

    # the score that is meant where none is named: the distance to the nearest of k-means centres
    # in softly whitened space, the error of the reconstruction, that error or the latents in units
    # of their covariance, or nearest and whitened together; all are fitted. "none": no scores
    name: Literal["nearest", "error", "whitened", "latent", "combined", "none"] = "nearest"
    # centres of k-means, 16 to 1024; fewer for few rows
    centres: Annotated[int, Meta(ge=1)] = 256
    # share of rows like the held-out ones that are past the threshold; 0.0001 to 0.1
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    # share of the rows, the most anomalous, that scores and threshold are fitted without
    trim: Annotated[float, Meta(ge=0, le=0.5)] = 0.0


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a training. Raises RecipeError for values that are not allowed."""

    # K, numbers that stand for a row; left out: the smallest K in 2..64 whose PCA leaves at most
    # 10 % of the training rows' variance; "auto": the smallest whose network does, found by trying
    latent_dim: Annotated[int, Meta(ge=1)] | Literal["auto"] | None = None
    # of every random draw: split, initial weights, order of rows, dropout
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    data: Data = Data()
    arch: Arch = Arch()
    bottleneck: Bottleneck = Bottleneck()
    corruption: Corruption = Corruption()
    fit: Fit = Fit()
    score: Scoring = Scoring()

    def __post_init__(self) -> None:
        for name, section in SECTIONS.items():
            if not isinstance(getattr(self, name), section):
                raise RecipeError(f"recipe: {name} is no ae_train.recipe.{section.__name__}")
        values = _plain({field: getattr(self, field) for field in self.__struct_fields__})
        if mistakes := _mistakes(values):
            raise RecipeError(f"recipe: {mistakes}")
        for field in fields_of(type(self)):  # numbers may have been numpy's
            force_setattr(self, field.name, msgspec.convert(values[field.name], field.type))
        if conflict := _conflict(self):
            raise RecipeError(f"recipe: {conflict}")


SECTIONS = {f.name: f.type for f in fields_of(Recipe) if isinstance(f.default, Struct)}


class ResolvedArch(Arch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[arch] with a network and its sizes."""

    name: ArchName
    width: int
    depth: int
    dropout: float


class ResolvedFit(Fit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[fit] with an objective and a number of epochs."""

    objective: Objective
    epochs: int


class Resolved(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe in which nothing is left out that a training needs; it is saved in the run."""

    latent_dim: int
    arch: ResolvedArch
    fit: ResolvedFit


# Settings that only one value of a choice reads; set beside another value, they are a mistake.
BELONGS = {
    ("bottleneck", "active"): ("sparse",),
    ("bottleneck", "beta"): ("variational",),
    ("bottleneck", "levels"): ("quantized",),
    ("corruption", "amount"): ("gaussian", "mask", "swap"),
}


def words_of(section: str, key: str) -> list[str]:
    """The names that a setting may have."""
    fields = fields_of(SECTIONS[section])
    return choices(next(field.type for field in fields if field.name == key))[0]


def read_recipe(path: Path) -> dict[str, Any]:
    """The fields of a recipe file, not yet checked. Raises SourceNotFound or RecipeError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceNotFound(f"{path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from None


def merge(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put `more` over fields, section by section."""
    for key, value in more.items():
        is_section = isinstance(value, Mapping) and isinstance(fields.get(key), Mapping)
        fields[key] = {**fields[key], **value} if is_section else value


def set_value(fields: dict[str, Any], assignment: str) -> None:
    """Put "section.key=value" into fields; the value as TOML writes it, or a bare word."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {assignment}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        fields = fields.setdefault(section, {})
        if not isinstance(fields, dict):
            raise RecipeError(f"--set {assignment}: {section} is a value, not a section")
    fields[last] = value


def make_recipe(fields: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """The recipe with these fields, defaults for the rest.

    Raises RecipeError that lists every unknown key, with the one that may have been meant, and
    every value out of range. Numbers may be numpy's, as a search over arrays of them brings.
    """
    values = _plain(fields)
    if mistakes := _mistakes(values):
        raise RecipeError(f"{source}: {mistakes}")
    types = {field.name: field.type for field in fields_of(Recipe)}
    try:
        return Recipe(**{key: msgspec.convert(value, types[key]) for key, value in values.items()})
    except RecipeError as error:
        raise RecipeError(f"{source}{str(error).removeprefix('recipe')}") from None


def as_resolved(recipe: Recipe) -> Resolved:
    """The same recipe as one that is resolved. Raises RecipeError for one that is not."""
    try:
        return msgspec.convert(to_fields(recipe), Resolved)
    except msgspec.ValidationError as error:
        raise RecipeError(f"the recipe is not resolved ({error}); train again") from None


def _plain(value: Any) -> Any:
    """The same with Python's numbers in place of numpy's, and dicts, at any depth."""
    if isinstance(value, Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def _mistakes(fields: dict[str, Any]) -> str:
    """Mistakes in keys and values, in one line of text; "" where there is none."""
    top = {key: value for key, value in fields.items() if key not in SECTIONS}
    lines = complaints("", Recipe, top, SECTIONS)
    for name, section in SECTIONS.items():
        values = fields.get(name, {})
        if isinstance(values, dict):
            lines += complaints(f"[{name}] ", section, values)
        else:
            lines.append(f"{name} is a section: write [{name}]")
    return "; ".join(lines)


def _conflict(recipe: Recipe) -> str:
    """Two settings that contradict each other, in a line of text; "" where none do."""
    data, arch, corruption = recipe.data, recipe.arch, recipe.corruption
    for (place, key), names in BELONGS.items():
        section = getattr(recipe, place)
        if getattr(section, key) is not None and section.name not in names:
            return (
                f"[{place}] {key} belongs to name = {' or '.join(map(repr, names))}, "
                f"the name is {section.name!r}; leave {key} out, or set the name"
            )
    if data.thousands is not None and data.thousands == data.decimal:
        return (
            f"[data] thousands = {data.thousands!r} is the sign before decimals, too; "
            "set decimal to another one"
        )
    if corruption.name in ("mask", "swap") and (corruption.amount or 0) >= 1:
        return (
            f"[corruption] amount = {corruption.amount:g} is a share of the numbers; "
            "choose less than 1"
        )
    if arch.pca_path and arch.code_activation != "none":
        return (
            f"[arch] code_activation = {arch.code_activation!r} would bend the "
            "PCA path; set pca_path = false, or code_activation = 'none'"
        )
    return ""


def to_fields(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML can hold it: settings that were left out stay out."""
    fields = {field.name: getattr(recipe, field.name) for field in fields_of(Recipe)}
    for name, section in SECTIONS.items():  # in their order, which is another one in Resolved
        values = {field.name: getattr(fields[name], field.name) for field in fields_of(section)}
        fields[name] = {key: value for key, value in values.items() if value not in (None, {})}
    return {key: value for key, value in fields.items() if value is not None}
