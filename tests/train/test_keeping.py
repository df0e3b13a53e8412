"""Whether a network is kept in place of PCA: chance, blocks of rows, and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
import torch

from ae_runtime.tables.windows import Windows
from ae_train.data.dataset import make_dataset
from ae_train.fit.blocks import MOST, block_sums, blocks_of, sharing_steps, units_of
from ae_train.fit.chance import LEVEL, gain_of, gains_of_best, is_beyond_chance
from ae_train.fit.folds import FOLDS, fold_gains
from ae_train.fit.keeping import gain_with_folds
from ae_train.fit.preparing import prepare
from ae_train.fit.resolving import fill_in, resolve
from ae_train.recipe import Recipe, make_recipe
from ae_train.training import train

Make = Callable[..., Recipe]


def kept(errors: np.ndarray, pca: np.ndarray) -> bool:
    gains = gains_of_best(errors, pca)
    return is_beyond_chance(gain_of(gains, pca, len(pca)))


@pytest.mark.parametrize("blocks", [2, 6, 32])
@pytest.mark.parametrize("epochs", [1, 16, 200])
def test_the_best_of_many_epochs_is_seldom_taken_for_skill(blocks: int, epochs: int) -> None:
    """Epochs that walk at random about PCA: some are better on these rows, none is elsewhere."""
    random = np.random.default_rng(0)
    found, naive = 0, 0
    for _ in range(500):
        pca = random.uniform(1, 2, blocks)
        errors = pca + 0.1 * random.standard_normal((epochs, blocks)).cumsum(0)
        found += kept(errors, pca)
        naive += errors.sum(1).min() < pca.sum()
    assert naive > 200
    assert found <= 500 * LEVEL + 3 * (500 * LEVEL) ** 0.5  # three deviations of a count


def test_a_gain_on_all_rows_is_kept_and_one_of_few_is_not() -> None:
    pca = np.random.default_rng(0).uniform(1, 2, 20)
    errors = np.stack([pca, 0.9 * pca])
    assert kept(errors, pca)
    errors[1, 3:] = pca[3:]
    errors[1, :3] = 0.1 * pca[:3]
    assert errors[1].sum() < 0.9 * pca.sum()
    assert not kept(errors, pca)


def test_a_gain_everywhere_is_kept_where_a_few_rows_are_most_of_the_error() -> None:
    pca = np.random.default_rng(0).uniform(1, 2, 20) ** 20
    assert kept(np.stack([pca, 0.9 * pca]), pca)


def test_six_rows_alone_are_too_few() -> None:
    pca = np.ones(6)
    gain = gain_of(0.5 * pca, pca, 6)
    assert gain.share == gain.chance == 0.5
    assert not is_beyond_chance(gain)
    assert is_beyond_chance(gain_of(np.full(7, 0.5), np.ones(7), 7))


def test_a_block_has_no_say_in_the_epoch_that_it_is_judged_at() -> None:
    pca = np.ones(3)
    errors = np.array([[1.0, 1.0, 1.0], [0.1, 1.1, 1.1], [0.8, 0.8, 0.8]])
    # The second epoch is the best of all by the first block alone.
    np.testing.assert_allclose(gains_of_best(errors, pca), [0.2, -0.1, -0.1])


def test_one_block_cannot_tell() -> None:
    gain = gain_of(np.array([0.5]), np.array([1.0]), 7)
    assert (gain.share, gain.chance, gain.rows, gain.blocks) == (0.5, None, 7, 1)
    assert not is_beyond_chance(gain)


def test_blocks_are_rows_groups_or_stretches_of_time() -> None:
    table = make_dataset(np.arange(1000.0).reshape(500, 2), "table")
    few, many = blocks_of(units_of(table, np.arange(20))), blocks_of(units_of(table, np.arange(99)))
    np.testing.assert_array_equal(few, np.arange(20))
    assert np.all(np.diff(many) >= 0)
    assert set(np.bincount(many)) == {3, 4}
    assert len(set(many)) == MOST
    groups = np.array(["b", "a", "b", "c"] * 3)
    grouped = make_dataset(np.arange(24.0).reshape(12, 2), "table", groups=groups)
    np.testing.assert_array_equal(units_of(grouped, np.array([0, 1, 2])), [1, 0, 1])


def test_windows_that_overlap_are_judged_together() -> None:
    series = [np.arange(200.0)[:, None], np.arange(90.0)[:, None]]
    data = make_dataset(Windows.cut(series, 10, 1), "series")
    windows = data.parts[0]
    units = units_of(data, np.arange(len(data)))
    assert len(set(units)) == 10 + 4  # stretches of at least two windows of ten steps
    assert set(units[windows.index == 0]) == set(range(10))
    first = windows.starts[units == 3]
    np.testing.assert_array_equal(first, np.arange(first[0], first[0] + len(first)))


def test_windows_that_share_steps_are_known() -> None:
    steps = np.arange(60.0)[:, None]
    data = make_dataset(Windows.cut([steps, steps], 10, 3), "series")
    rows, held = np.arange(len(data)), np.array([5, 6, 25])
    windows = data.parts[0]
    expected = [
        any(
            windows.index[row] == windows.index[at]
            and abs(windows.starts[row] - windows.starts[at]) < 10
            for at in held
        )
        for row in rows
    ]
    np.testing.assert_array_equal(sharing_steps(data, rows, held), expected)


def test_sums_of_blocks_are_those_of_their_rows() -> None:
    np.testing.assert_array_equal(block_sums(np.arange(5.0), np.array([0, 1, 0, 2, 2])), [2, 1, 7])


def test_few_rows_are_judged_with_training_rows_held_out_in_turn(
    small: Make, rows: np.ndarray
) -> None:
    recipe = small(arch={"width": 16}, fit={"epochs": 60}, score={"name": "none"})
    prepared = prepare(make_dataset(rows[:100], "table"), recipe, torch.device("cpu"))
    recipe = resolve(fill_in(recipe, prepared), prepared, 2)
    gains, pca, count = joined(fold_gains(recipe, prepared, 40))
    np.testing.assert_array_equal(gains, joined(fold_gains(recipe, prepared, 40))[0])
    assert gains.shape == pca.shape == (80,)
    assert count == 80
    assert gains.sum() > 0.1 * pca.sum()  # three of five columns are curves
    untrained, *_ = joined(fold_gains(recipe, prepared, 0))
    assert np.abs(untrained).max() < 1e-4 * pca.max()  # a network that is PCA, in float32


def joined(
    folds: Iterable[tuple[np.ndarray, np.ndarray, int]],
) -> tuple[np.ndarray, np.ndarray, int]:
    gains, pca, counts = zip(*folds, strict=True)
    return np.concatenate(gains), np.concatenate(pca), sum(counts)


@pytest.mark.parametrize(
    ("saved", "asked", "better"), [(0.3, 1, True), (-0.3, 1, False), (0.0, FOLDS, False)]
)
def test_no_more_folds_are_trained_than_tell(saved: float, asked: int, better: bool) -> None:
    """A gain everywhere and a loss everywhere are clear at once, chance is looked at to the end."""
    random = np.random.default_rng(0)
    made = 0

    def folds() -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        nonlocal made
        for _ in range(FOLDS):
            made += 1
            pca = random.uniform(1, 2, 10)
            yield saved * pca + 0.1 * np.tile([1.05, -1.0], 5) * (saved == 0), pca, 10

    gain = gain_with_folds(np.array([0.01, 0.01]), np.ones(2), 2, folds())
    assert gain is not None
    assert made == gain.folds == asked
    assert gain.rows == 2 + 10 * asked
    assert is_beyond_chance(gain) == better


def test_a_loss_that_may_be_chance_is_looked_at_twice() -> None:
    folds = [(np.array([-0.2, 0.1]), np.ones(2), 2)] * FOLDS
    gain = gain_with_folds(np.array([0.01]), np.ones(1), 1, iter(folds))
    assert gain is not None
    assert gain.folds == 2
    assert gain.share < 0


def test_without_folds_nothing_is_said() -> None:
    assert gain_with_folds(np.ones(2), np.ones(2), 2, iter(())) is None


def test_too_few_rows_for_folds_leave_it_to_the_validation_rows(small: Make) -> None:
    x = np.random.default_rng(0).standard_normal((10, 3))
    recipe = small(data={"validation": 0.6, "test": 0.0}, score={"name": "none"})
    prepared = prepare(make_dataset(x, "table"), recipe, torch.device("cpu"))
    assert len(prepared.train) < FOLDS
    assert list(fold_gains(resolve(fill_in(recipe, prepared), prepared, 2), prepared, 1)) == []


def test_other_codes_are_not_held_against_pca() -> None:
    x = np.random.default_rng(0).standard_normal((60, 4))
    fields = {"latent_dim": 2, "arch": {"width": 8}, "fit": {"epochs": 1, "objective": "mae"}}
    quality = train(x, make_recipe(fields | {"score": {"name": "none"}})).schema.quality
    assert quality.gain is None
    assert not quality.is_pca
