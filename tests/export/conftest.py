"""What the tests of export share: one run of each kind, exported once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ae_export import Exported, export
from ae_runtime.bundle.manifest import Column
from ae_train.data.dataset import Dataset, make_dataset
from ae_train.recipe import make_recipe
from ae_train.run.folder import Run
from ae_train.training import train

CONFIG = {
    "latent_dim": 3,
    "arch": {"name": "dense", "width": 16, "depth": 1, "dropout": 0.0},
    "fit": {"epochs": 12, "lr": 1e-2, "batch": 32},
}


@dataclass(frozen=True)
class Case:
    """A run and what became of it. parts: all of its rows, as the encoder takes them."""

    parts: tuple[np.ndarray, ...]
    run: Run
    bundle: Path
    exported: Exported

    @property
    def x(self) -> np.ndarray:
        return self.parts[0]

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.bundle.iterdir()}


def table() -> Dataset:
    """(600, 8) float64: far from zero, tiny, huge, with gaps, constant, empty, whole numbers."""
    random = np.random.default_rng(3)
    u, v, w = random.standard_normal((3, 600))
    gaps = np.where(random.random(600) < 0.2, np.nan, u + v)
    columns = {
        "far": 1e6 + u,
        "farther": -3e9 + 3e3 * v,
        "tiny": 3e-21 * (u * v + 0.1 * w),
        "huge": 5e9 * np.sin(2 * u),
        "gaps": gaps,
        "constant": np.full(600, 1 / 3),
        "empty": np.full(600, np.nan),
        "count": np.rint(20 * w),
    }
    described = [Column(name, integer=name == "count") for name in columns]
    return make_dataset(np.stack([*columns.values()], 1), "table", described)


def floats() -> Dataset:
    """(400, 5) float32, without names and without gaps."""
    random = np.random.default_rng(4)
    u, v = random.standard_normal((2, 400))
    x = np.stack([u, v * 100 + 3e3, u * v * 1e-6, u - v, v * v], 1)
    return make_dataset(x.astype(np.float32))


def waves() -> Dataset:
    """(400, 12, 2) float32: windows of two waves."""
    random = np.random.default_rng(6)
    phase, pace = random.uniform(0, 6, (400, 1)), random.uniform(0.3, 1, (400, 1))
    angle = phase + pace * np.arange(12)
    return make_dataset(
        np.stack([np.sin(angle), 5 * np.cos(angle)], 2).astype(np.float32), "series"
    )


def mixed() -> Dataset:
    """(400, 3) float64 with gaps, a whole number, and 2 columns of words, some missing."""
    random = np.random.default_rng(8)
    u, v = random.standard_normal((2, 400))
    x = np.stack([u + 1e6, v * 3, np.rint(20 * u * v)], 1)
    x[::9, 1] = np.nan
    codes = np.stack([(u > 0).astype(int) + (v > 0), random.integers(0, 2, 400)], 1)
    codes[::11, 0] = -1
    columns = [
        Column("far"),
        Column("gaps"),
        Column("count", integer=True),
        Column("mood", type="category", levels=["low", "middle", "high"]),
        Column("open", type="boolean", levels=["no", "yes"]),
    ]
    return make_dataset(x, "table", columns, codes=codes.astype(np.int32))


def images() -> Dataset:
    """(400, 4, 5, 3) uint8: a spot anywhere, each colour of its own strength."""
    random = np.random.default_rng(5)
    u, v = random.uniform(0, 4, (2, 400, 1, 1, 1))
    rows, columns = np.arange(4)[:, None, None], np.arange(5)[:, None]
    spot = np.exp(-((rows - u) ** 2 + (columns - v) ** 2) / 2)
    return make_dataset(np.rint(spot * [100, 160, 250]).astype(np.uint8))


def grey() -> Dataset:
    """(400, 7, 6) uint8: images without an axis of colours."""
    x = images().raw[0].astype(int).sum(3)  # (400, 4, 5)
    return make_dataset(np.pad(x // 2, ((0, 0), (2, 1), (0, 1))).astype(np.uint8))


def octets() -> Dataset:
    """(400, 6) uint8: a table."""
    u, v = np.random.default_rng(9).uniform(-1, 1, (2, 400))
    columns = np.stack([u, v, u * v, u - v, u**2, np.sin(3 * v)], 1)
    return make_dataset(np.rint(127 + 60 * columns).astype(np.uint8), "table")


def words() -> Dataset:
    """(400, 0) float64 and 3 columns of words that hang together, some missing."""
    random = np.random.default_rng(10)
    u, v = random.standard_normal((2, 400))
    codes = np.stack([u > 0, np.digitize(u, [-1, 0.5]), np.digitize(u + v, [-1, 0, 1])], 1)
    codes[random.random(codes.shape) < 0.05] = -1
    kinds = ["no", "yes"], ["low", "middle", "high"], ["n", "e", "s", "w"]
    columns = [Column(f"c{i}", type="category", levels=levels) for i, levels in enumerate(kinds)]
    x = np.zeros((400, 0))
    return make_dataset(x, "table", columns, codes=codes.astype(np.int32))


ROWS: dict[str, Callable[[], Dataset]] = {
    "mixed": mixed,
    "float64": table,
    "float32": floats,
    "image": images,
    "series": waves,
    "grey": grey,
    "octets": octets,
    "words": words,
}
MAKE: dict[str, tuple[Callable[[], Dataset], dict[str, object]]] = {
    "table": (table, {}),
    "float32": (floats, {}),
    "image": (images, {}),
    "pca": (floats, {"fit": {"epochs": 0}}),
    "conv": (images, {"arch": {"name": "conv", "width": 4, "depth": 2}}),
    "mixed": (mixed, {}),
    "conv1d": (waves, {"arch": {"name": "conv", "width": 4, "depth": 2}}),
}


@pytest.fixture(scope="session", autouse=True)
def _no_trace_of_tracing() -> None:
    # Thousands of empty lines, which pytest would show beside what a test prints.
    logging.getLogger("torch.__trace").setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A case by its name, trained and exported when it is first asked for."""
    made: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in made:
            rows, settings = MAKE[name]
            data, folder = rows(), tmp_path_factory.mktemp(name)
            run = train(data, make_recipe({**CONFIG, **settings}), folder / "run")
            bundle = folder / "bundle"
            made[name] = Case(data.parts, run, bundle, export(run, bundle))
        return made[name]

    return get


@pytest.fixture(scope="session", params=["table", "float32", "image"])
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    """Each kind of edge: float64, float32, uint8."""
    return cases(request.param)


@pytest.fixture(scope="session")
def any_case(cases: Callable[[str], Case]) -> Callable[[str], Case]:
    return cases


@pytest.fixture(scope="session")
def make_rows() -> Callable[[str], Dataset]:
    """Rows by the name of what they are."""
    return lambda name: ROWS[name]()
