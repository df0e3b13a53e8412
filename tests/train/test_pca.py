"""PCA against numpy's SVD, and the default size of the code."""

from __future__ import annotations

import numpy as np
import pytest

from ae_train.network.pca import Pca, default_latent_dim, fit_pca


def correlated(rows: int, size: int) -> np.ndarray:
    random = np.random.default_rng(5)
    mixing = random.standard_normal((size, size)) * np.linspace(3, 0.1, size)
    return random.standard_normal((rows, size)) @ mixing.T + random.standard_normal(size)


def projector(axes: np.ndarray) -> np.ndarray:
    return axes.T @ axes


@pytest.mark.parametrize("shape", [(200, 12), (9000, 4), (12, 12), (11, 12), (5, 12)])
def test_axes_and_variances_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    x = correlated(*shape)
    pca = fit_pca(x)
    _, singular, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    # Two float64 decompositions; the scatter matrix squares the condition number, 1e-16 -> 1e-12.
    np.testing.assert_allclose(pca.mean, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(pca.variance, singular**2 / len(x), atol=1e-12 * pca.variance[0])
    for k in range(1, min(shape) - 1):  # the last axis of 5 centred rows is any direction
        np.testing.assert_allclose(projector(pca.axes[:k]), projector(axes[:k]), atol=1e-9)


def test_few_rows_and_many_rows_agree() -> None:
    few = correlated(7, 12)
    by_svd, by_scatter = fit_pca(few), fit_pca(np.tile(few, (3, 1)))  # same mean, same covariance
    np.testing.assert_allclose(by_svd.variance, by_scatter.variance[:7], atol=1e-10)
    # 7 centred rows span 6 directions; float64 error grows with the inverse of their gaps.
    np.testing.assert_allclose(by_svd.axes[:6], by_scatter.axes[:6], atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 6), (4, 6)])
def test_the_sign_is_fixed_by_the_largest_loading(shape: tuple[int, int]) -> None:
    x = correlated(*shape)
    axes = fit_pca(x).axes[:3]
    largest = axes[np.arange(3), np.abs(axes).argmax(axis=1)]
    assert (largest > 0).all()
    # Rows mirrored have the same axes, though SVD hands them out with other signs.
    np.testing.assert_allclose(fit_pca(-x).axes[:3], axes, atol=1e-10)


def test_axes_are_orthonormal() -> None:
    axes = fit_pca(correlated(50, 8).astype(np.float32)).axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(8), atol=1e-12)  # float64 eigenvectors


def test_reconstruct() -> None:
    x = correlated(50, 8)
    pca = fit_pca(x)
    np.testing.assert_allclose(pca.reconstruct(x, 8), x, atol=1e-12)
    np.testing.assert_allclose(pca.reconstruct(x, 0), np.broadcast_to(x.mean(0), x.shape))
    left = ((pca.reconstruct(x, 3) - x) ** 2).sum(1).mean()
    np.testing.assert_allclose(left, pca.variance[3:].sum(), rtol=1e-10)


@pytest.mark.parametrize(
    ("variance", "latent_dim"),
    [
        ([5, 3, 1, 1], 3),  # 50 %, 20 %, then exactly 10 % left
        ([5, 3, 0.99, 0.5, 0.51], 4),  # 10.1 % left after three
        ([1] * 4, 3),  # four would be needed; as many as a row has would compress nothing
        ([99, 1, 0, 0], 2),  # one would do; 2 is the least
        ([1], 1),  # but not more than there are
        ([1] * 40, 36),
        ([1] * 71, 64),  # 64 of 71 leave 9.9 %
        ([1] * 200, 64),  # 180 would be needed; 64 is the most
    ],
)
def test_default_latent_dim(variance: list[float], latent_dim: int) -> None:
    size = len(variance)
    pca = Pca(np.zeros(size), np.eye(size), np.array(variance, float), sum(variance))
    assert default_latent_dim(pca) == latent_dim
