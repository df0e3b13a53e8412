"""Advice at the end of a training: each line when it applies, as a whole, and none otherwise."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ae_runtime.bundle.manifest import Quality
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.recipe import Resolved, as_resolved, make_recipe
from ae_train.report.advice import Facts, give_advice, spans, summary_of


def recipe(**sections: Any) -> Resolved:
    fit = {"objective": "mse", "epochs": 200, **sections.pop("fit", {})}
    arch = {"name": "dense", "width": 8, "depth": 1, "dropout": 0.0, **sections.pop("arch", {})}
    fields = {"latent_dim": 4, "data": {"kind": "table"}, "arch": arch, "fit": fit, **sections}
    return as_resolved(make_recipe(fields))


def quality(ours: float = 0.1, pca: float = 0.2, is_pca: bool = False) -> Quality:
    return Quality(validation_mse=ours, pca_mse=pca, mean_mse=1.0, is_pca=is_pca)


SCHEMA = {
    "train_mse": 0.08,
    "quality": quality(),
    "epochs": 50,
    "best_epoch": 30,
    "stopped": "patience",
    "z_std": [2.0, 1.0, 0.5, 0.1],
    "usage": {},
    "rows": {"train": 800, "validation": 100, "test": 100},
}
REST = {"history": [0.2] + [0.1] * 50, "tails": [3.0, 5.0], "names": ["age", "income"]}


def schema(numbers: int = 20, **changes: Any) -> Any:
    """What advice reads of a Schema."""
    return SimpleNamespace(form=SimpleNamespace(numbers=numbers), **SCHEMA | changes)


def advice(**changes: Any) -> list[str]:
    settings = changes.pop("recipe", recipe())
    rest = {name: changes.pop(name, value) for name, value in REST.items()}
    name, own = settings.bottleneck.name, settings.bottleneck.settings(4)
    return give_advice(Facts(settings, schema(**changes), BOTTLENECKS[name](4, **own), **rest))


def test_a_healthy_training_gets_no_advice() -> None:
    assert advice() == []


@pytest.mark.parametrize(
    ("sections", "tries"),
    [
        ({}, "more rows, [arch] dropout = 0.2, or [corruption] name = 'gaussian'"),
        ({"corruption": {"name": "mask"}}, "more rows or [arch] dropout = 0.2"),
        (
            {"arch": {"dropout": 0.2}},
            "more rows, [arch] dropout = 0.4, or [corruption] name = 'gaussian'",
        ),
        (
            {"arch": {"dropout": 0.5}},
            "more rows or [corruption] name = 'gaussian'",
        ),
    ],
)
def test_overfitting_names_what_is_not_used_yet(sections: dict[str, Any], tries: str) -> None:
    lines = advice(quality=quality(0.18), train_mse=0.1, recipe=recipe(**sections))
    assert lines == [
        "validation error is 1.8 times the training error: the training rows were learned by heart "
        f"in part; try {tries}"
    ]


def test_overfitting_of_pca_is_one_of_its_size() -> None:
    lines = advice(quality=quality(0.2, 0.2, is_pca=True), train_mse=0.1, epochs=0, best_epoch=0)
    assert lines == [
        "validation error is 2.0 times the training error: the training rows were learned by heart "
        "in part; try more rows or fewer latents (--latent)"
    ]


def test_a_training_error_of_zero_is_no_division_by_it() -> None:
    assert advice(train_mse=0.0)[0].startswith(
        "the training error is 0, the validation error is not: "
    )


def test_errors_that_nobody_sees_are_no_overfitting() -> None:
    assert advice(quality=quality(9e-4), train_mse=1e-5) == []


def test_a_training_that_still_improves_wants_more_epochs() -> None:
    falling = [1 / (1 + epoch) for epoch in range(51)]
    found = advice(stopped="epochs", best_epoch=50, history=falling)
    assert found == [
        "the best epoch was the last, and the second half of the epochs took 49 % off the error: "
        "try --epochs 100"
    ]
    flat = [1.0] * 25 + [0.105] + [0.1] * 25  # the best is the last, by 5 % of the error
    assert advice(stopped="epochs", best_epoch=50, history=flat) == []
    assert advice(stopped="epochs", best_epoch=49, history=falling) == []


def test_an_interrupted_training_can_go_on() -> None:
    assert advice(stopped="interrupt") == [
        "training was interrupted after 50 of 200 epochs: train on from this run with --init RUN"
    ]


def test_a_model_that_is_pca_says_why() -> None:
    same = quality(0.1, 0.1, is_pca=True)
    start = "PCA is the best linear code, and none of 20 epochs was better by more than chance"
    end = "; use it as it is, or try more rows or another --latent"
    assert advice(quality=same, epochs=20, best_epoch=0) == [
        f"{start} (the numbers of a row may depend on each other in straight lines only){end}"
    ]
    wide = advice(quality=same, epochs=20, best_epoch=0, numbers=1000)
    assert wide == [f"{start} (800 training rows of 1000 numbers may be too few for more){end}"]
    assert advice(quality=same, epochs=0, best_epoch=0) == []  # it was asked for


def test_a_network_without_the_path_that_is_below_pca() -> None:
    lines = advice(
        quality=quality(0.3, 0.2), train_mse=0.25, recipe=recipe(arch={"pca_path": False})
    )
    assert lines == ["validation error is 0.3, above PCA's 0.2: try --set arch.pca_path=true"]


USAGES = [
    ("variational", {"kl": [1.0, 0.5, 0.4, 0.009], "unused": [3]}),
    ("sparse", {"active": 1, "usage": [0.5, 0.3, 0.2, 0.0], "dead": [3]}),
    ("quantized", {"entropy": [2.9, 3.0, 2.5, 0.04], "bits": 12.0, "perplexity": 90.0}),
]


@pytest.mark.parametrize(("name", "usage"), USAGES)
def test_unused_latents_of_each_bottleneck(name: str, usage: dict[str, Any]) -> None:
    lines = advice(recipe=recipe(bottleneck={"name": name}), usage=usage)
    assert lines == ["latent 4 is unused: try --latent 3"]


@pytest.mark.parametrize("name", ["plain", "ordered"])
def test_unused_latents_by_their_deviation(name: str) -> None:
    lines = advice(recipe=recipe(bottleneck={"name": name}), z_std=[9, 0.01, 3, 0.02])
    assert lines == ["latents 2, 4 are unused: try --latent 2"]


def test_a_small_latent_that_saves_much_of_the_error_is_used() -> None:
    # Spectra: one direction holds nearly all; 0.02 squared is 40 % of what is left of a row.
    spectra = {"z_std": [9.0, 3.0, 1.0, 0.02], "quality": quality(5e-5)}
    assert advice(train_mse=5e-5, **spectra) == []
    plain = advice(train_mse=5e-5, recipe=recipe(arch={"pca_path": False}), **spectra)
    assert plain == ["latent 4 is unused: try --latent 3"]  # its units are its own there


def test_latents_that_hold_rounding_alone_are_unused_where_no_error_is_left() -> None:
    exact = {"z_std": [9.0, 3.0, 6e-8, 5e-8], "quality": quality(1e-15)}
    assert advice(train_mse=1e-15, **exact) == ["latents 3-4 are unused: try --latent 2"]


def test_posterior_collapse_names_beta() -> None:
    usage = {"kl": [2.0, 0.001, 0.001, 0.0], "unused": [1, 2, 3]}
    lines = advice(recipe=recipe(bottleneck={"name": "variational"}), usage=usage)
    assert lines == [
        "latents 2-4 are unused, 3 of 4: the KL divergence costs more than they would save; "
        "try --set bottleneck.beta=0.25, or --latent 1"
    ]
    every = {"kl": [0.0] * 4, "unused": [0, 1, 2, 3]}
    strong = recipe(bottleneck={"name": "variational", "beta": 8})
    assert advice(recipe=strong, usage=every)[0].endswith("bottleneck.beta=2, or --latent 1")


def test_heavy_tails_name_the_column_and_the_scaling() -> None:
    assert advice(tails=[3.0, 120.4]) == [
        "column 'income' reaches 120 standard deviations: try --set data.scaling=robust"
    ]
    assert advice(tails=[40.0, 120.4, 31.0, float("nan")], names=[None] * 4) == [
        "column 2 reaches 120 standard deviations, and 2 others more than 30: try "
        "--set data.scaling=robust"
    ]
    series = recipe(data={"kind": "series"})
    assert advice(tails=[40.0], names=["flow"], recipe=series) == [
        "channel 'flow' reaches 40 standard deviations: try --set data.scaling=robust"
    ]


def test_heavy_tails_that_are_scaled_robustly_want_another_loss() -> None:
    robust = {"kind": "table", "scaling": "robust"}
    assert advice(tails=[3.0, 50.0], recipe=recipe(data=robust)) == [
        "column 'income' reaches 50 standard deviations: try --set fit.objective=huber"
    ]
    for fit in ({"objective": "huber"}, {"objective": "mixed"}):
        assert advice(tails=[3.0, 50.0], recipe=recipe(data=robust, fit=fit)) == []
    assert advice(tails=[3.0, 50.0], recipe=recipe(fit={"objective": "bce"})) == []


def test_a_code_as_large_as_the_row_compresses_nothing() -> None:
    assert advice(numbers=5) == [
        "4 latents for 5 numbers a row compress next to nothing: try --latent 2"
    ]
    few = {"entropy": [3.0] * 4, "bits": 12.0, "perplexity": 90.0}
    assert advice(numbers=5, recipe=recipe(bottleneck={"name": "quantized"}), usage=few) == []


def test_few_validation_rows_make_figures_uncertain() -> None:
    end = "every figure uncertain: try more rows, or --set data.validation=0.3"
    assert advice(rows={"train": 90, "validation": 10}) == [f"10 validation rows make {end}"]
    assert advice(rows={"train": 9, "validation": 1}) == [f"1 validation row makes {end}"]
    own = recipe(data={"validation": "train"})
    assert advice(rows={"train": 10, "validation": 10}, recipe=own, numbers=10) == []


def test_advice_is_one_line_whatever_a_column_is_called() -> None:
    lines = advice(tails=[99.0], names=["a\nb"], rows={"train": 90, "validation": 10})
    assert len(lines) == 2
    assert all("\n" not in line for line in lines)


def test_spans_are_written_as_people_count() -> None:
    assert spans([]) == ""
    assert spans([0]) == "1"
    assert spans([0, 1, 4, 6, 7, 8]) == "1-2, 5, 7-9"


def test_unused_latents_count_from_zero() -> None:
    plain = BOTTLENECKS["plain"](4)
    known = schema(z_std=[1.0, 1e-5, 1.0, 1e-6], quality=quality(0.05))
    summary = summary_of(recipe(), known, plain)
    assert summary.unused == [1, 3]


def test_advice_needs_no_torch() -> None:
    code = "import sys, ae_train.report.advice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
