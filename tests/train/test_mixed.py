"""Mixed tables: words become numbers and come back, gaps count nowhere, columns count alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ae_runtime.bundle.manifest import Column
from ae_runtime.errors import RecipeError
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.data.form import Form
from ae_train.fit.fitting import Fitting, evaluate
from ae_train.fit.preparing import fit_preprocess
from ae_train.fit.rows import HeldRows
from ae_train.network.mixed import MixedPreprocess
from ae_train.network.model import Model
from ae_train.network.objective import Mixed
from ae_train.network.preprocess import measure
from ae_train.recipe import Recipe, Resolved, as_resolved
from ae_train.training import train

Make = Callable[..., Recipe]
FORM = Form("table", "float64", (2,), levels=(3, 2))


def columns(numbers: int = 2) -> list[Column]:
    found = [Column(f"n{at}", integer=at == 1) for at in range(numbers)]
    return [
        *found,
        Column("colour", "category", levels=["red", "green", "blue"]),
        Column("on", "boolean", levels=["false", "true"]),
    ]


def dataset(count: int = 300, gaps: float = 0.1) -> Dataset:
    """Numbers that say which words a row has, and gaps in both."""
    random = np.random.default_rng(0)
    x = np.stack([random.uniform(-3, 3, count), random.integers(-50, 50, count)], 1)
    codes = np.stack([np.digitize(x[:, 0], [-1, 1]), x[:, 1] > 10], 1).astype(np.int32)
    x[random.random(x.shape) < gaps] = np.nan
    codes[random.random(codes.shape) < gaps] = -1
    return make_dataset(x, "table", columns(), codes=codes)


def tensors(data: Dataset) -> tuple[Tensor, Tensor]:
    x, codes = data.take(slice(None))
    return torch.from_numpy(x), torch.from_numpy(codes)


@pytest.fixture
def preprocess() -> MixedPreprocess:
    data = dataset()
    fitted = fit_preprocess(data, measure(data, np.arange(len(data))), Recipe())
    assert isinstance(fitted, MixedPreprocess)
    return fitted


def test_words_and_numbers_come_back(preprocess: MixedPreprocess) -> None:
    x, codes = tensors(dataset(gaps=0.0))
    s = preprocess.scale_rows(x, codes)
    assert s.shape == (300, *FORM.scaled_shape)
    assert set(s[:, 2:].unique().tolist()) == {0.0, 1.0}
    numbers, words, probability = preprocess.unscale_rows(s)
    torch.testing.assert_close(numbers, x, atol=1e-6, rtol=1e-6)  # float32 in scaled space
    assert torch.equal(numbers[:, 1], x[:, 1])  # whole numbers are rounded
    assert torch.equal(words, codes)
    assert (words.dtype, probability.dtype) == (torch.int32, torch.float32)
    assert torch.equal(probability, s[:, 2:])


def test_an_unknown_word_is_all_zeros(preprocess: MixedPreprocess) -> None:
    x = torch.zeros(1, 2, dtype=torch.float64)
    codes = torch.tensor([[-1, 1]], dtype=torch.int32)
    assert preprocess.scale_rows(x, codes)[0, 2:].tolist() == [0, 0, 0, 0, 1]
    assert preprocess.present(x, codes).tolist() == [[True, True, False, False, False, True, True]]
    x[0, 1] = torch.nan
    assert preprocess.present(x, codes)[0, :2].tolist() == [True, False]


def model_blind_to_rows(recipe: Resolved) -> Model:
    torch.manual_seed(0)
    model = Model(recipe, FORM)
    assert model.arch is not None
    nn.init.zeros_(model.arch.encode_net[-1].weight)
    return model


def test_what_is_missing_counts_in_no_loss(small: Make, preprocess: MixedPreprocess) -> None:
    recipe = as_resolved(small(arch={"pca_path": False, "depth": 0}, fit={"objective": "mixed"}))
    parts = tensors(dataset(gaps=0.4))
    s, present = preprocess.scale_rows(*parts), preprocess.present(*parts)
    assert not present.all(1).all()
    seen = []
    for target in (s, torch.where(present, s, 7.0)):
        model = model_blind_to_rows(recipe)
        rows = HeldRows(target, present)
        loss = Fitting(model, recipe.fit, rows, rows)._loss(target, present)
        seen.append([float(loss.detach()), *evaluate(model, rows)[:2]])
    assert seen[0] == seen[1]
    step, judged, _ = seen[0]
    assert step == pytest.approx(judged, rel=1e-5)  # one is in float32


def test_every_column_pays_one_for_knowing_nothing() -> None:
    data = dataset(gaps=0.0)
    preprocess = fit_preprocess(data, measure(data, np.arange(len(data))), Recipe())
    s = preprocess.scale_rows(*tensors(data))
    objective = Mixed(FORM)
    objective.fit(s)
    shares = s[:, 2:].mean(0)
    y = torch.cat([torch.zeros(len(s), 2), shares.log().expand(len(s), -1)], 1)  # marginals
    losses = objective.loss(y, s).mean(0)
    paid = [*losses[:2].tolist(), float(losses[2:5].sum()), float(losses[5:].sum())]
    assert paid == pytest.approx([1.0] * 4, abs=1e-4)  # float32 sums over 300 rows
    counted = objective.share().split([2, 3, 2])
    assert [float(part.sum()) for part in counted] == pytest.approx([2, 1, 1])


def test_the_output_is_chances_and_starts_at_the_right_word(preprocess: MixedPreprocess) -> None:
    parts = tensors(dataset(gaps=0.0))
    s = preprocess.scale_rows(*parts)
    objective = Mixed(FORM)
    gain, shift = objective.start()
    s_hat = objective.output(gain * s + shift)
    assert torch.equal(s_hat[:, :2], s[:, :2])
    for part in s_hat[:, 2:].split(FORM.levels, 1):
        torch.testing.assert_close(part.sum(1), torch.ones(len(s)))
    assert torch.equal(preprocess.unscale_rows(s_hat)[1], parts[1])


def test_a_trained_model_says_more_than_the_most_frequent_word(small: Make) -> None:
    data = dataset()
    run = train(data, small(fit={"epochs": 40}, arch={"width": 16}))
    assert run.recipe.fit.objective == "mixed"
    assert run.schema.mixed is not None
    with torch.no_grad():
        x_hat, words, probability = run.model.decode(run.model.encode(*tensors(data)))
    test = run.split.test
    x, codes = data.parts
    known = codes[test] >= 0
    right = (words.numpy()[test] == codes[test])[known].mean()
    counts = [np.bincount(column[column >= 0]) for column in codes[run.split.train].T]
    frequent = (codes[test] == [count.argmax() for count in counts])[known].mean()
    figures = run.schema.mixed["test"]
    assert figures.accuracy == pytest.approx(right, rel=1e-6)  # float32 shares
    assert figures.frequent_accuracy == pytest.approx(frequent, rel=1e-6)
    assert right > frequent + 0.1
    errors = x_hat.numpy()[test, 0] - x[test, 0]  # n1 is rounded
    found = run.schema.columns
    assert found is not None
    assert found[0].rmse == pytest.approx(np.sqrt(np.nanmean(errors**2)), rel=1e-4)  # float32
    for part in probability.split(FORM.levels, 1):
        torch.testing.assert_close(part.sum(1), torch.ones(len(data)))


def test_words_alone_are_a_table_too(small: Make) -> None:
    codes = dataset(gaps=0.05).parts[1]
    data = make_dataset(np.empty((300, 0)), "table", columns(0), codes=codes)
    run = train(data, small(fit={"epochs": 20}))
    assert run.schema.mixed is not None
    assert run.schema.mixed["test"].accuracy > run.schema.mixed["test"].frequent_accuracy
    x_hat, words, _ = run.model.decode(run.model.encode(*tensors(data)))
    assert (x_hat.shape, words.shape) == ((300, 0), (300, 2))


def test_losses_of_numbers_are_refused(small: Make) -> None:
    with pytest.raises(RecipeError) as caught:
        train(dataset(), small(fit={"objective": "bce"}))
    assert str(caught.value) == (
        "[fit] objective = 'bce' is for numbers, this table has categories; "
        "leave it out, or use 'mixed' or 'mse'"
    )
    with pytest.raises(RecipeError) as caught:
        train(np.random.default_rng(0).random((50, 3)), small(fit={"objective": "mixed"}))
    assert str(caught.value) == (
        "[fit] objective = 'mixed' is for tables with categories, these rows are numbers; "
        "leave it out, or use 'mse'"
    )
