"""The recipe of a training: every setting with its unit and range, read from TOML and checked."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import numpy as np
from msgspec import Meta, Struct

from ae_runtime.bundle.manifest import Reading
from ae_runtime.errors import RecipeError, SourceNotFound

# Values that a choice may take are listed here and nowhere else; the dictionaries that carry them
# out (arch.ARCHS, bottleneck.BOTTLENECKS, objective.OBJECTIVES, ...) are tested to have these keys.


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
    # most words of a category that are told apart; the rarer ones become "other"; 2 to 1000
    max_levels: Annotated[int, Meta(ge=2, le=100_000)] = 100
    # the row of a text file that holds the names of the columns: "yes" for the first that may,
    # "no" for none, or its number, from 1; left out: found
    header: Literal["yes", "no"] | Annotated[int, Meta(ge=1, le=40)] | None = None
    # sign before decimals in text; left out: found, a point where the text does not show it
    decimal: Literal[".", ","] | None = None
    # sign between thousands in text; left out: found, none where the text does not show it
    thousands: Literal[",", ".", " ", "'"] | None = None
    # numbers and words that stand for a missing value, beside the usual ones (NA, null, ...)
    missing: list[float | str] | None = None
    # time steps of a series that are one row; left out: 64, or an eighth of a short series
    window: Annotated[int, Meta(ge=1)] | None = None
    # time steps from one window to the next; left out: 1, or more where that makes over 50,000
    stride: Annotated[int, Meta(ge=1)] | None = None
    # [height, width] in pixels that the images of a folder are brought to; left out: as they are
    resize: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=2, max_length=2)] | None = (
        None
    )
    # an image that cannot be read ends the command, or is left out and named
    unreadable: Literal["stop", "skip"] = "stop"

    @property
    def reading(self) -> Reading:
        """How the data are written, as far as that is said here."""
        return Reading(self.decimal, self.thousands, self.missing or [])

    @property
    def reading_said(self) -> Reading | None:
        """The same; None where nothing is said."""
        return None if self.reading == Reading() else self.reading


class Arch(Struct, frozen=True, forbid_unknown_fields=True):
    """[arch]: the two networks."""

    # left out: conv for images of at least 16 x 16 pixels, dense for the rest
    name: Literal["dense", "conv", "gru"] | None = None
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


class Corruption(Struct, frozen=True, forbid_unknown_fields=True):
    """[corruption]: what is done to a row before the encoder sees it, in training only."""

    name: Literal["none", "gaussian", "mask", "swap"] = "none"
    # gaussian: deviation of the noise in scaled space (left out: 0.1); mask: share of the numbers
    # that are hidden, swap: share taken from other rows (left out: 0.1)
    amount: Annotated[float, Meta(gt=0)] | None = None


class Fit(Struct, frozen=True, forbid_unknown_fields=True):
    """[fit]: the loss and how it is brought down."""

    # what is brought down; bce needs scaled data in [0, 1]; left out: mixed for tables with
    # categories (squared error of numbers, cross-entropy of categories), mse for the rest
    objective: Literal["mse", "mae", "huber", "bce", "mixed"] | None = None
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
    """[score]: how strange a row is; fitted when the model is trained."""

    # the score that is meant where none is named: the distance to the nearest of k-means centres
    # in softly whitened space, the error of the reconstruction, that error or the latents in units
    # of their covariance, or nearest and whitened together; all are fitted. "none": no scores
    name: Literal["nearest", "error", "whitened", "latent", "combined", "none"] = "nearest"
    # centres of k-means, 16 to 1024; fewer for few rows
    centres: Annotated[int, Meta(ge=1)] = 256
    # share of rows like the held-out ones that are past the threshold; 0.0001 to 0.1
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    # share of the rows, the strangest, that scores and threshold are fitted without
    trim: Annotated[float, Meta(ge=0, le=0.5)] = 0.0


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a training; the resolved one, without gaps, is saved in the run."""

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


SECTIONS: dict[str, type[Struct]] = {
    "data": Data,
    "arch": Arch,
    "bottleneck": Bottleneck,
    "corruption": Corruption,
    "fit": Fit,
    "score": Scoring,
}
# Settings that only one value of a choice reads; set beside another value, they are a mistake.
BELONGS = {
    ("bottleneck", "active"): ("sparse",),
    ("bottleneck", "beta"): ("variational",),
    ("bottleneck", "levels"): ("quantized",),
    ("corruption", "amount"): ("gaussian", "mask", "swap"),
}


def words_of(section: str, key: str) -> list[str]:
    """The words that a setting may be."""
    fields = msgspec.structs.fields(SECTIONS[section])
    return _choices(next(field.type for field in fields if field.name == key))[0]


def read_recipe(path: Path) -> dict[str, Any]:
    """The fields of a recipe file, not yet checked. Raises SourceNotFound or RecipeError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceNotFound(f"{path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from None


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


def _plain(value: Any) -> Any:
    """The same with Python's numbers and words in place of numpy's, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def make_recipe(fields: dict[str, Any], source: str = "recipe") -> Recipe:
    """The recipe with these fields, defaults for the rest.

    Raises RecipeError that lists every unknown key, with the one that may have been meant, and
    every value out of range. Numbers may be numpy's, as a search over arrays of them brings.
    """
    fields = _plain(fields)
    complaints = []
    top = {key: value for key, value in fields.items() if key not in SECTIONS}
    complaints += _complaints("", Recipe, top)
    for name, section in SECTIONS.items():
        values = fields.get(name, {})
        if isinstance(values, dict):
            complaints += _complaints(f"[{name}] ", section, values)
        else:
            complaints.append(f"{name} is a section: write [{name}]")
    if complaints:
        raise RecipeError(f"{source}: {'; '.join(complaints)}")
    recipe = msgspec.convert(fields, Recipe)
    for (place, key), names in BELONGS.items():
        values = getattr(recipe, place)
        if getattr(values, key) is not None and values.name not in names:
            raise RecipeError(
                f"{source}: [{place}] {key} belongs to name = {' or '.join(map(repr, names))}, "
                f"the name is {values.name!r}; leave {key} out, or set the name"
            )
    data = recipe.data
    if data.thousands is not None and data.thousands == data.decimal:
        raise RecipeError(
            f"{source}: [data] thousands = {data.thousands!r} is the sign before decimals, too; "
            "set decimal to another one"
        )
    corruption = recipe.corruption
    if corruption.name in ("mask", "swap") and (corruption.amount or 0) >= 1:
        raise RecipeError(
            f"{source}: [corruption] amount = {corruption.amount:g} is a share of the numbers; "
            "choose less than 1"
        )
    if recipe.arch.pca_path and recipe.arch.code_activation != "none":
        raise RecipeError(
            f"{source}: [arch] code_activation = {recipe.arch.code_activation!r} would bend the "
            "PCA path; set pca_path = false, or code_activation = 'none'"
        )
    return recipe


def _complaints(where: str, struct: type[Struct], values: dict[str, Any]) -> list[str]:
    """What is wrong with the keys and values of one section, in words."""
    found = []
    known = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *(SECTIONS if not where else ())], 1)
            hint = f'. Did you mean "{close[0]}"?' if close else f" (known: {', '.join(known)})"
            found.append(f"{where}{key}: unknown key{hint}")
            continue
        try:
            msgspec.convert(value, known[key].type)
        except msgspec.ValidationError as error:
            found.append(f"{where}{key} = {value!r}: {_wanted(known[key].type, value, error)}")
    return found


def _wanted(annotation: Any, value: Any, error: msgspec.ValidationError) -> str:
    """What a field may hold, in words."""
    words, only_words = _choices(annotation)
    if words and (only_words or isinstance(value, str)):
        return f"one of {', '.join(words)}" + ("" if only_words else ", or a number")
    return str(error).lower().replace(" | null", "")  # TOML has no null


def _choices(annotation: Any) -> tuple[list[str], bool]:
    """The words a field may hold, and whether words are all it may hold."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)], True
    parts = [part for part in get_args(annotation) if part is not type(None)]
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return words, len(parts) == 1


def to_fields(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML can hold it: settings that were left out stay out."""
    fields = msgspec.to_builtins(recipe)
    return {
        key: {k: v for k, v in value.items() if v not in (None, {})}
        if isinstance(value, dict)
        else value
        for key, value in fields.items()
        if value is not None
    }


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Names of the settings in which two recipes differ."""
    left, right = _flat(to_fields(a)), _flat(to_fields(b))
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): content for name, content in inner.items()}
    return flat
