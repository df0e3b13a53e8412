"""What is chosen by a part, or by a guess, is about as small as the best of all ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_archive import compress, modes
from ae_archive.coding import components, fitting, interleaving, row_coder
from ae_archive.coding.predictor import Predictor
from ae_archive.error_bound import ErrorBound
from ae_archive.modes import components_alone, gridded

RNG = np.random.default_rng
ROWS = 40_000  # times 8: more values than all ways are made of


def signals() -> dict[str, np.ndarray]:
    """Rows that each of the ways is for."""
    rng = RNG(0)
    time = np.arange(ROWS)[:, None]
    noise = rng.standard_normal((ROWS, 8))
    sources = rng.standard_normal((ROWS // 8, 3)) @ rng.standard_normal((3, 64))
    images = np.zeros((400, 784))
    images[:, 200:500] = rng.integers(0, 200, (400, 300)) * (rng.random((400, 300)) < 0.3)
    sensors = np.sin(np.arange(6000)[:, None] / rng.uniform(5, 50, 48))
    return {
        "walks": np.cumsum(noise, axis=0),
        "waves": np.sin(time / np.arange(5, 13)) + 0.05 * noise,
        "mixed": noise @ rng.standard_normal((8, 8)) + np.cumsum(noise, axis=0) / 10,
        "wide": sources + 0.02 * rng.standard_normal(sources.shape),
        "noise": rng.standard_normal((ROWS // 8, 64)),
        "images": images,
        "sensors": sensors + 0.05 * rng.standard_normal(sensors.shape),
    }


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.001])
@pytest.mark.parametrize("name", list(signals()))
def test_a_sample_of_many_rows_shows_the_smallest_way(name: str, share: float, mean: bool) -> None:
    x = signals()[name].astype(np.float32)
    assert x.size > 1 << 18
    bound = np.full(x.shape[1], share * np.ptp(x).astype(np.float64))
    error_bound = ErrorBound(x.dtype, bound, mean, x.shape[1:])
    smallest = min(len(way.payload) for way in modes.without_model(x, error_bound, every=True))
    chosen = modes.encode(x, error_bound)
    assert len(chosen.payload) <= 1.03 * smallest


def test_all_ways_are_chosen() -> None:
    chosen = set()
    for name, share in (("walks", 0.01), ("waves", 0.001), ("wide", 0.001)):
        x = signals()[name].astype(np.float32)
        error_bound = ErrorBound(
            x.dtype, share * np.ptp(x, axis=0).astype(float), False, x.shape[1:]
        )
        chosen.add(modes.NAMES[modes.encode(x, error_bound).mode])
    assert chosen == {"interpolation", "grid", "pca"}


@pytest.mark.parametrize("name", ["wide", "noise", "images", "sensors"])
def test_wide_rows_are_stored_in_about_the_smallest_way(name: str) -> None:
    x = signals()[name]
    for step in (0.1, 0.001):
        q = np.rint(x / (step * np.ptp(x))).astype(np.int64)
        ways = row_coder._wide_ways(q) + row_coder._REPEATS
        ways += [row_coder._Way(0, way, layout) for way in range(4) for layout in range(2)]
        smallest = min(len(row_coder._packed(way, q, b"")) for way in ways)
        packed = row_coder.pack_rows(q)
        assert len(packed) <= 1.05 * smallest
        assert row_coder.estimate_rows(q) == pytest.approx(smallest, rel=0.15)
        np.testing.assert_array_equal(row_coder.unpack_rows(packed, *q.shape), q)


@pytest.mark.parametrize("columns", [1, 3, 8, 20])
def test_what_is_likely_is_what_least_squares_leave(columns: int) -> None:
    rng = RNG(columns)
    mixed = np.cumsum(rng.standard_normal((3000, columns)), axis=0) @ rng.random((columns, columns))
    q = np.rint(5 * mixed).astype(np.int64)
    size, orders = columns if columns < 20 else 1, [0, 1, 2, 4]
    design = fitting._Design(q, 4, size, 4096)
    for cross in (False, True) if size == columns else (False,):
        for order, likely in zip(orders, design.likely(orders, cross), strict=True):
            for column in range(columns):
                used = design.places(column, order, cross)
                group, target = design.of(column)
                x, y = design.x[group][:, used], design.x[group][:, target]
                np.testing.assert_array_equal(y, q[4:, column])
                weights, *_ = np.linalg.lstsq(x, y, rcond=None)
                left = np.square(y - x @ weights).mean()
                bits = 0.5 * np.log2(left + 1 / 12)
                assert likely[column] == pytest.approx(bits / 8 * 3000 + 2 * len(used), rel=1e-3)
                np.testing.assert_allclose(
                    x @ design.weights(used, column), x @ weights, atol=0.05 * np.sqrt(left + 1)
                )


def test_columns_that_are_constant_or_equal_have_a_predictor() -> None:
    x = np.cumsum(RNG(0).integers(-9, 10, (2000, 1)), axis=0)
    far = np.where(np.arange(2000)[:, None] % 2, 2**28 - 1, 1 - 2**28)
    q = np.hstack([x, x, np.zeros_like(x), np.full_like(x, 77), far, -x])
    packed = row_coder.pack_rows(q)
    np.testing.assert_array_equal(row_coder.unpack_rows(packed, *q.shape), q)
    assert len(packed) < 1.1 * len(row_coder.pack_rows(x)) + 500


@pytest.mark.parametrize("columns", [1, 40])
def test_differences_beyond_what_is_predicted(columns: int) -> None:
    far = np.where(np.arange(200)[:, None] % 2, 2**28 - 1, 1 - 2**28)
    q = far + np.zeros((1, columns), np.int64)
    np.testing.assert_array_equal(row_coder.unpack_rows(row_coder.pack_rows(q), *q.shape), q)
    for way in row_coder._wide_ways(q):
        raw = row_coder._packed(way, q, b"")
        np.testing.assert_array_equal(row_coder.unpack_rows(raw, *q.shape), q)


def test_peaked_residuals_take_fewer_bytes_than_by_least_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = RNG(0)
    q = np.zeros((60_000, 2), np.int64)
    jumps = rng.integers(-500, 500, q.shape) * (rng.random(q.shape) < 0.02)
    noise = rng.integers(-2, 3, q.shape) + jumps
    for at in range(1, len(q)):
        q[at] = q[at - 1] * 7 // 8 + noise[at]
    sizes = {}
    for peaked in (fitting._PEAKED, 0.0):
        monkeypatch.setattr(fitting, "_PEAKED", peaked)
        sizes[peaked > 0] = len(row_coder.pack_rows(q))
    assert sizes[True] < 0.99 * sizes[False]


@pytest.mark.parametrize("rows", [1, 5, 128, 300, 2048, 5000])
@pytest.mark.parametrize(("order", "columns"), [(0, 1), (1, 3), (4, 2), (16, 1)])
def test_residuals_are_restored(order: int, columns: int, rows: int) -> None:
    rng = RNG(rows)
    before = rng.integers(-300, 300, (order * columns, columns)).astype(float)
    for beside in (np.zeros((columns, columns)), np.triu(rng.integers(-99, 99, 2 * (columns,)), 1)):
        constant, shift = rng.integers(-5000, 5000, columns), np.full(columns, 10)
        predictor = Predictor(order, before, beside.astype(float), constant.astype(float), shift)
        q = rng.integers(-1000, 1000, (rows, columns))
        np.testing.assert_array_equal(predictor.restore(predictor.residuals(q)), q)


@pytest.mark.parametrize(("order", "columns"), [(0, 3), (1, 1), (3, 5), (16, 2), (16, 32)])
def test_predictions_are_exact_for_integers_of_any_size(order: int, columns: int) -> None:
    rng, rows = RNG(columns), 3 * 128 * max(order, 1) + 7
    most = 2**15 - 1
    before = rng.choice([-most, most, 0], (order * columns, columns))
    beside = np.triu(rng.choice([-most, most], 2 * (columns,)), 1)
    constant, shift = rng.integers(-(2**47), 2**47, columns), rng.integers(0, 13, columns)
    predictor = Predictor(
        order, *(each.astype(float) for each in (before, beside, constant)), shift
    )
    q = rng.choice([1 - 2**28, 2**28 - 1], (rows, columns))
    r = predictor.residuals(q)
    exact, weights = q.astype(object), [each.astype(object) for each in (before, beside)]
    for row in rng.integers(order, rows, 50):
        if row % predictor.segment < max(order, 1):
            continue  # where a lane begins
        sums = exact[row - order : row].reshape(-1) @ weights[0] + exact[row] @ weights[1]
        told = (2 * (sums + constant) + 2**shift) // 2 ** (shift + 1)
        np.testing.assert_array_equal(r[row], exact[row] - told)
    np.testing.assert_array_equal(predictor.restore(r), q)


def test_axes_are_swapped() -> None:
    for shape in ((1, 1), (3, 70), (100, 33, 2), (64, 0), (0, 5)):
        x = RNG(0).random(shape)
        out = np.zeros((shape[1], shape[0], *shape[2:]))
        interleaving.transpose(x, out)
        np.testing.assert_array_equal(out, x.swapaxes(0, 1))


def test_directions_are_kept_where_they_save() -> None:
    rng = RNG(0)
    noise = 20 * rng.standard_normal((4000, 40))
    told = 500 * rng.standard_normal((4000, 3)) @ rng.standard_normal((3, 40))
    for x, kept in ((noise, 0), (told + noise, 3), (np.tile(told, 8) + np.tile(noise, 8), 40)):
        for some in (False, True):
            found = components.directions_of(np.rint(x).astype(np.int64), 1, some)
            assert components.cheapest_count(found, 2.0, len(x)) == kept
    assert (
        components.cheapest_count(found, 2.0, 1) == 0
    )  # so few windows do not pay for a direction


def test_directions_of_large_windows_are_the_leading_ones() -> None:
    rng = RNG(0)
    sources = rng.standard_normal((500, 20)) * np.linspace(9, 3, 20)
    mixed = np.linalg.qr(rng.standard_normal((320, 20))).Q
    q = np.rint(50 * (sources @ mixed.T + 0.01 * rng.standard_normal((500, 320)))).astype(np.int64)
    found = components.directions_of(q.reshape(-1, 40), 8, some=True)
    rows = q - np.rint(q.mean(axis=0))
    variances = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    np.testing.assert_allclose(found.variances[:20], variances[:20], rtol=1e-6)
    assert found.variances.shape == (64,)
    assert found.spread.sum() == pytest.approx(variances.sum())
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(64), atol=1e-9)


def test_components_that_miss_a_mean_error_leave_the_chunk_to_other_ways() -> None:
    x = signals()["mixed"].astype(np.float32)
    error_bound = ErrorBound(x.dtype, 1e-6 * np.ptp(x, axis=0).astype(float), True, x.shape[1:])
    plans = components_alone.plans(x, error_bound)
    assert plans
    assert gridded.encode_components_alone(x, error_bound, plans) is None
    assert error_bound.holds(modes.decode(*modes.encode(x, error_bound), x.shape, error_bound), x)


def test_many_rows_are_within_their_bound(tmp_path: Path) -> None:
    from ae_archive import Archive

    for name, x in signals().items():
        bound = 0.01 * np.ptp(x, axis=0) + 1e-6
        path = tmp_path / f"{name}.aez"
        assert compress(x, path, max_error=bound).bytes < x.nbytes
        with Archive(path) as archive:
            assert (np.abs(archive[:] - x) <= bound).all()


def widest(error: Callable[[float], float], near: float | None) -> tuple[float | None, int]:
    """The factor that is found, and in how many tries."""
    tried = []

    def tell(factor: float) -> tuple[None, np.ndarray]:
        tried.append(factor)
        return None, np.full((1, 1), error(factor))

    error_bound = ErrorBound(np.dtype(np.float64), np.ones(1), True, (1,))
    kept = error_bound.widest_steps(tell, np.zeros((1, 1)), near)
    return None if kept is None else kept.factor, len(tried)


@pytest.mark.parametrize(
    ("error", "wanted", "tries"),
    [
        (lambda f: f / 1.7, 1.7, 3),
        (lambda f: np.sqrt(0.9**2 + (f / 9) ** 2), 9 * np.sqrt(0.19), 4),
        (lambda f: 0.3 * f**0.7, 0.3 ** (-1 / 0.7), 10),
        (lambda f: f / 1.7 if f < 1.3 else np.inf, 1.3, 17),
        (lambda f: 1e300 if f > 3 else 0.1, 3, 17),
        (lambda f: 0.0, 64, 17),
        (lambda f: 0.5, 64, 17),
        (lambda f: np.nan if f > 2 else 0.2, 2, 17),
    ],
)
def test_the_widest_step_is_found_in_few_tries(
    error: Callable[[float], float], wanted: float, tries: int
) -> None:
    factor, tried = widest(error, None)
    assert factor == pytest.approx(wanted, rel=0.004)
    assert factor is not None
    assert error(factor) <= 1
    assert tried <= tries


def test_no_step_is_found_where_all_are_too_wide() -> None:
    assert widest(lambda factor: 1.001, None) == (None, 1)


@pytest.mark.parametrize(
    ("error", "near", "tries"),
    [
        (lambda f: f / 1.7, 1.73, 2),
        (lambda f: f / 1.7, 1.69, 2),
        (lambda f: np.sqrt(0.9**2 + 0.19 * (f / 5) ** 2), 4, 4),
        (lambda f: np.sqrt(0.9**2 + 0.19 * (f / 5) ** 2), 7, 4),
        (lambda f: np.sqrt(0.9**2 + 0.19 * (f / 5) ** 2), 64, 6),
        (lambda f: np.sqrt(1.01 + f), 1.7, 5),  # which no factor keeps
        (lambda f: f / 40 + 0.02 * np.sin(99 * f), 38, 10),
    ],
)
def test_the_widest_step_near_a_guess_is_found_sooner(
    error: Callable[[float], float], near: float, tries: int
) -> None:
    factor, tried = widest(error, near)
    assert tried <= tries
    if factor is None:
        assert error(1 / 64) > 1
    else:
        assert 0.98 < error(factor) <= 1


@pytest.mark.parametrize("rows", [3000, 5000])
def test_a_mean_error_takes_fewer_bytes_than_a_bound(rows: int) -> None:
    x = signals()["wide"][:rows].astype(np.float32)
    for share in (0.05, 0.0001):
        bound = share * np.ptp(x, axis=0).astype(np.float64)
        sizes = {
            mean: len(modes.encode(x, ErrorBound(x.dtype, bound, mean, x.shape[1:])).payload)
            for mean in (False, True)
        }
        assert sizes[True] < sizes[False]
