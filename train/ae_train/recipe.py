"""The recipe of a training: every setting with its unit and range, read from TOML and checked."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from ae_runtime.errors import RecipeError, SourceNotFound

# Values that a choice may take are listed here and nowhere else; the dictionaries that carry them
# out (arch.ARCHS, bottleneck.BOTTLENECKS, objective.OBJECTIVES, ...) are tested to have these keys.


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """[data]: what the rows are and how they are split and scaled."""

    # what a row is; left out: uint8 arrays of 3 or 4 axes are images, 2-d arrays are tables
    kind: Literal["table", "image"] | None = None
    # share of the rows to validate on, or "train" to validate on the training rows themselves
    validation: Annotated[float, Meta(gt=0, lt=1)] | Literal["train"] = 0.1
    # share of the rows held out until the end; 0 for none
    test: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    # one scale per table column or image channel: (x - mean) / std, (x - median) / (IQR / 1.349),
    # (x - min) / (max - min), or x as it is
    scaling: Literal["standard", "robust", "range", "none"] = "standard"


class Arch(Struct, frozen=True, forbid_unknown_fields=True):
    """[arch]: the two networks."""

    name: Literal["dense"] = "dense"
    # units of a hidden layer; 16 to 4096
    width: Annotated[int, Meta(ge=1, le=65536)] = 256
    # hidden layers on either side; 0 for none, rarely above 4
    depth: Annotated[int, Meta(ge=0, le=64)] = 2
    # share of hidden units dropped at a training step; 0 to 0.5
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    activation: Literal["silu", "relu", "gelu", "tanh"] = "silu"
    # applied to the code itself; "none" unless pca_path is false
    code_activation: Literal["none", "relu", "tanh", "sigmoid"] = "none"
    # start from PCA and learn what is better; false: a plain network from random weights
    pca_path: bool = True


class Bottleneck(Struct, frozen=True, forbid_unknown_fields=True):
    """[bottleneck]: what the code is made to be."""

    name: Literal["plain"] = "plain"


class Fit(Struct, frozen=True, forbid_unknown_fields=True):
    """[fit]: the loss and how it is brought down."""

    # what is brought down; bce needs scaled data in [0, 1]
    objective: Literal["mse", "bce"] = "mse"
    optimizer: Literal["adamw", "adadelta"] = "adamw"
    # learning rate: 1e-4 to 1e-2 for adamw, 1 for adadelta
    lr: Annotated[float, Meta(gt=0)] = 1e-3
    # over all epochs: half a cosine down to 0, or no change
    schedule: Literal["cosine", "constant"] = "cosine"
    # rows a step; 32 to 4096
    batch: Annotated[int, Meta(ge=1)] = 256
    # passes over the training rows at most; 0 keeps the start, which is PCA on a pca_path
    epochs: Annotated[int, Meta(ge=0)] = 200
    # epochs without a better validation error after which training stops; for keep = "best" only
    patience: Annotated[int, Meta(ge=1)] = 20
    # decoupled for adamw, an L2 penalty for adadelta
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    # largest norm of a step's gradient; 0 for no limit
    clip: Annotated[float, Meta(ge=0)] = 1.0
    # which weights are saved: the best on validation rows, the start included, or the last
    keep: Literal["best", "last"] = "best"


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a training; the resolved one, without gaps, is saved in the run."""

    # K, numbers that stand for a row; left out: the smallest K in 2..64 whose PCA leaves at most
    # 10 % of the training rows' variance
    latent_dim: Annotated[int, Meta(ge=1)] | None = None
    # of every random draw: split, initial weights, order of rows, dropout
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    data: Data = Data()
    arch: Arch = Arch()
    bottleneck: Bottleneck = Bottleneck()
    fit: Fit = Fit()


SECTIONS: dict[str, type[Struct]] = {
    "data": Data,
    "arch": Arch,
    "bottleneck": Bottleneck,
    "fit": Fit,
}


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


def make_recipe(fields: dict[str, Any], source: str = "recipe") -> Recipe:
    """The recipe with these fields, defaults for the rest.

    Raises RecipeError that lists every unknown key, with the one that may have been meant, and
    every value out of range.
    """
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
        key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
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
