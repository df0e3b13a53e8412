"""Recipes: defaults, TOML, every range, and messages that list all mistakes at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tomli_w

from ae_runtime.errors import RecipeError, SourceNotFound
from ae_train.recipe import (
    SECTIONS,
    Arch,
    Fit,
    Recipe,
    as_resolved,
    make_recipe,
    read_recipe,
    set_value,
    to_fields,
)
from ae_train.run.checkpoint import differences
from ae_train.run.folder import Run

OTHER_VALUES: dict[str, Any] = {
    "latent_dim": 5,
    "seed": 9,
    "data": {
        "kind": "table",
        "validation": "train",
        "test": 0.0,
        "scaling": "robust",
        "columns": ["a", "b"],
        "drop": ["c"],
        "id": ["d"],
        "split_by": "e",
        "types": {"a": "category"},
        "max_levels": 7,
        "header": "yes",
        "decimal": ",",
        "thousands": ".",
        "missing": [-9999.0, "bad"],
        "window": 5,
        "stride": 2,
        "resize": [3, 4],
        "unreadable": "skip",
    },
    "arch": {
        "name": "dense",
        "width": 3,
        "depth": 0,
        "dropout": 0.25,
        "activation": "tanh",
        "code_activation": "sigmoid",
        "pca_path": False,
    },
    "bottleneck": {"name": "quantized", "active": 2, "beta": 0.5, "levels": 4},
    "corruption": {"name": "mask", "amount": 0.25},
    "fit": {
        "objective": "bce",
        "optimizer": "adadelta",
        "lr": 1.0,
        "schedule": "constant",
        "batch": 1,
        "epochs": 0,
        "patience": 1,
        "weight_decay": 0.0,
        "clip": 0.0,
        "keep": "last",
    },
    "score": {"name": "error", "centres": 16, "false_alarm_rate": 0.1, "trim": 0.05},
}


def test_defaults() -> None:
    assert to_fields(Recipe()) == {
        "seed": 0,
        "data": {
            "validation": 0.1,
            "test": 0.1,
            "scaling": "standard",
            "max_levels": 100,
            "unreadable": "stop",
        },
        "arch": {
            "activation": "silu",
            "code_activation": "none",
            "pca_path": True,
        },
        "bottleneck": {"name": "plain"},
        "corruption": {"name": "none"},
        "fit": {
            "optimizer": "adamw",
            "lr": 1e-3,
            "schedule": "cosine",
            "batch": 256,
            "patience": 20,
            "weight_decay": 1e-4,
            "clip": 1.0,
            "keep": "best",
        },
        "score": {"name": "nearest", "centres": 256, "false_alarm_rate": 0.01, "trim": 0.0},
    }


@pytest.mark.parametrize(
    ("name", "key"), [("sparse", "active"), ("variational", "beta"), ("quantized", "levels")]
)
def test_every_key_survives_toml(name: str, key: str) -> None:
    settings = {"name": name, key: OTHER_VALUES["bottleneck"][key]}  # no recipe may set all keys
    fields = OTHER_VALUES | {"bottleneck": settings}
    recipe = make_recipe(fields)
    assert to_fields(recipe) == fields
    assert make_recipe(tomllib.loads(tomli_w.dumps(to_fields(recipe)))) == recipe


def test_other_values_leave_out_no_key() -> None:
    # So that the test above goes on covering every key when there are more.
    for name, section in SECTIONS.items():
        assert list(OTHER_VALUES[name]) == [field.name for field in msgspec.structs.fields(section)]


def test_the_recipe_in_a_run_has_no_gaps(finished: Run) -> None:
    assert finished.folder is not None
    path = finished.folder / "recipe.toml"
    assert as_resolved(make_recipe(read_recipe(path))) == finished.recipe
    fields = tomllib.loads(path.read_text())
    # All settings that mean something for a table of numbers and the choices made.
    assert {name: list(fields[name]) for name in SECTIONS} == {
        "data": ["kind", "validation", "test", "scaling", "max_levels", "unreadable"],
        "arch": [field.name for field in msgspec.structs.fields(Arch)],
        "bottleneck": ["name"],
        "corruption": ["name"],
        "fit": [field.name for field in msgspec.structs.fields(Fit)],
        "score": ["name", "centres", "false_alarm_rate", "trim"],
    }
    assert fields["latent_dim"] == 2


def test_all_mistakes_in_one_message() -> None:
    fields = {
        "latent_dims": 3,
        "arch": {"widht": 5, "depth": 65},
        "fit": {"learning": 1, "objective": "mea"},
        "data": 4,
        "zzz": 1,
    }
    with pytest.raises(RecipeError) as caught:
        make_recipe(fields, "r.toml")
    assert str(caught.value) == (
        'r.toml: latent_dims: unknown key. Did you mean "latent_dim"?; '
        "zzz: unknown key (known: latent_dim, seed, data, arch, bottleneck, corruption, "
        "fit, score); "
        "data is a section: write [data]; "
        '[arch] widht: unknown key. Did you mean "width"?; '
        "[arch] depth = 65: expected `int` <= 64; "
        "[fit] learning: unknown key (known: objective, optimizer, lr, schedule, batch, epochs, "
        "patience, weight_decay, clip, keep); "
        "[fit] objective = 'mea': one of mse, mae, huber, bce, mixed"
    )


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("", "latent_dim", 0, "expected `int` >= 1"),
        ("", "latent_dim", 2.5, "expected `int | str`, got `float`"),
        ("", "latent_dim", True, "expected `int | str`, got `bool`"),
        ("", "latent_dim", "car", "one of auto, or a number"),
        ("", "seed", -1, "expected `int` >= 0"),
        ("", "seed", 2**63, f"expected `int` <= {2**63 - 1}"),
        ("data", "kind", "text", "one of table, image, series"),
        ("data", "validation", 0.0, "expected `float` > 0.0"),
        ("data", "validation", 1.0, "expected `float` < 1.0"),
        ("data", "validation", "trian", "one of train, or a number"),
        ("data", "test", -0.1, "expected `float` >= 0.0"),
        ("data", "test", 1.0, "expected `float` < 1.0"),
        ("data", "test", float("nan"), "expected `float` >= 0.0"),
        ("data", "scaling", "std", "one of standard, robust, range, none"),
        ("arch", "name", "cnn", "one of dense, conv, gru"),
        ("arch", "width", 0, "expected `int` >= 1"),
        ("arch", "width", 65537, "expected `int` <= 65536"),
        ("arch", "depth", -1, "expected `int` >= 0"),
        ("arch", "depth", 65, "expected `int` <= 64"),
        ("arch", "dropout", -0.1, "expected `float` >= 0.0"),
        ("arch", "dropout", 1.0, "expected `float` < 1.0"),
        ("arch", "activation", "selu", "one of silu, relu, gelu, tanh"),
        ("arch", "code_activation", "silu", "one of none, relu, tanh, sigmoid"),
        ("arch", "pca_path", "False", "expected `bool`, got `str`"),
        ("bottleneck", "name", "vae", "one of plain, ordered, sparse, variational, quantized"),
        ("fit", "objective", "rmse", "one of mse, mae, huber, bce, mixed"),
        ("fit", "optimizer", "sgd", "one of adamw, adadelta"),
        ("fit", "lr", 0.0, "expected `float` > 0.0"),
        ("fit", "lr", "fast", "expected `float`, got `str`"),
        ("fit", "schedule", "step", "one of cosine, constant"),
        ("fit", "batch", 0, "expected `int` >= 1"),
        ("fit", "epochs", -1, "expected `int` >= 0"),
        ("fit", "patience", 0, "expected `int` >= 1"),
        ("fit", "weight_decay", -1e-9, "expected `float` >= 0.0"),
        ("fit", "clip", -1.0, "expected `float` >= 0.0"),
        ("fit", "keep", "all", "one of best, last"),
    ],
)
def test_ranges(section: str, key: str, value: object, wanted: str) -> None:
    fields = {section: {key: value}} if section else {key: value}
    with pytest.raises(RecipeError) as caught:
        make_recipe(fields)
    where = f"[{section}] " if section else ""
    assert str(caught.value) == f"recipe: {where}{key} = {value!r}: {wanted}"


def test_an_activation_of_the_code_needs_a_plain_network() -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe({"arch": {"code_activation": "relu"}})
    assert str(caught.value) == (
        "recipe: [arch] code_activation = 'relu' would bend the PCA path; "
        "set pca_path = false, or code_activation = 'none'"
    )


def test_a_recipe_made_in_python_is_checked_too() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(fit=Fit(optimizer="sgd"))  # type: ignore[arg-type]
    assert str(caught.value) == "recipe: [fit] optimizer = 'sgd': one of adamw, adadelta"
    with pytest.raises(RecipeError) as caught:
        Recipe(latent_dim=0)
    assert str(caught.value) == "recipe: latent_dim = 0: expected `int` >= 1"
    with pytest.raises(RecipeError) as caught:
        Recipe(arch={"width": 3})  # type: ignore[arg-type]
    assert str(caught.value) == "recipe: arch is no ae_train.recipe.Arch"
    with pytest.raises(RecipeError, match="would bend the PCA path"):
        Recipe(arch=Arch(code_activation="relu"))
    assert type(Recipe(latent_dim=np.int64(3), seed=np.int32(1)).latent_dim) is int


def test_a_resolved_recipe_has_no_gaps(finished: Run) -> None:
    assert as_resolved(finished.recipe) == finished.recipe
    with pytest.raises(RecipeError, match=r"the recipe is not resolved .*missing"):
        as_resolved(Recipe())


def test_broken_toml_and_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    with pytest.raises(SourceNotFound) as missing:
        read_recipe(path)
    assert str(missing.value) == f"{path} does not exist"
    path.write_text("latent_dim = \n")
    with pytest.raises(RecipeError) as broken:
        read_recipe(path)
    assert str(broken.value) == f"{path} is not valid TOML: Invalid value (at line 1, column 14)"


@pytest.mark.parametrize(
    ("assignments", "fields"),
    [
        (["fit.lr=1e-2"], {"fit": {"lr": 0.01}}),
        (["fit.lr = 0.5", "fit.batch=7"], {"fit": {"lr": 0.5, "batch": 7}}),
        (["fit.objective=bce"], {"fit": {"objective": "bce"}}),
        (['fit.objective="bce"'], {"fit": {"objective": "bce"}}),
        (["arch.pca_path=false"], {"arch": {"pca_path": False}}),
        (["seed=3", "seed=4"], {"seed": 4}),
        (["data.validation=train"], {"data": {"validation": "train"}}),
        (["a.b=x=y"], {"a": {"b": "x=y"}}),
    ],
)
def test_set(assignments: list[str], fields: dict[str, Any]) -> None:
    found: dict[str, Any] = {}
    for assignment in assignments:
        set_value(found, assignment)
    assert found == fields


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("fit.lr", "--set fit.lr: write it as section.key=value"),
        ("=3", "--set =3: write it as section.key=value"),
        ("seed.x=1", "--set seed.x=1: seed is a value, not a section"),
    ],
)
def test_set_refuses(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        set_value({"seed": 3}, assignment)
    assert str(caught.value) == message


def test_differences_are_named() -> None:
    a = make_recipe({"seed": 1, "fit": {"lr": 0.1}})
    b = make_recipe({"latent_dim": 4, "seed": 1, "fit": {"lr": 0.2}})
    assert differences(a, b) == ["fit.lr", "latent_dim"]
    assert differences(a, a) == []
