"""Every word that a recipe may hold is carried out by the part that it names."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
import torch
from torch import nn

from ae_train.fit.corruption import CORRUPTIONS
from ae_train.fit.fitting import _make_optimizer
from ae_train.network.arch import ARCHS
from ae_train.network.arch.dense import ACTIVATIONS
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.network.model import CODE_ACTIVATIONS
from ae_train.network.objective import OBJECTIVES
from ae_train.recipe import SECTIONS, Fit, Recipe


def words(section: str, key: str) -> set[str]:
    """The words that a key may hold."""
    (annotation,) = (f.type for f in msgspec.structs.fields(SECTIONS[section]) if f.name == key)
    if get_origin(annotation) is not Literal:  # it may be left out
        (annotation,) = (part for part in get_args(annotation) if part is not NoneType)
    assert get_origin(annotation) is Literal
    return set(get_args(annotation))


@pytest.mark.parametrize(
    ("section", "key", "carried_out"),
    [
        ("arch", "name", ARCHS),
        ("arch", "activation", ACTIVATIONS),
        ("arch", "code_activation", CODE_ACTIVATIONS),
        ("bottleneck", "name", BOTTLENECKS),
        ("corruption", "name", {"none": None, **CORRUPTIONS}),
        ("fit", "objective", OBJECTIVES),
    ],
)
def test_every_word_is_carried_out(section: str, key: str, carried_out: dict[str, Any]) -> None:
    assert words(section, key) == set(carried_out)


def test_every_optimizer_is_the_one_named() -> None:
    made = {
        word: type(_make_optimizer(nn.Linear(1, 1), Fit(optimizer=word)))  # type: ignore[arg-type]
        for word in words("fit", "optimizer")
    }
    assert made == {"adamw": torch.optim.AdamW, "adadelta": torch.optim.Adadelta}


def test_the_optimizer_is_given_its_settings(small: Callable[..., Recipe]) -> None:
    for word in words("fit", "optimizer"):
        fit = small(fit={"optimizer": word, "lr": 0.3, "weight_decay": 0.2}).fit
        (group,) = _make_optimizer(nn.Linear(1, 1), fit).param_groups  # type: ignore[arg-type]
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
