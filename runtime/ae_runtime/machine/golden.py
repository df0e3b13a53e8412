"""Golden vectors: rows stored in a bundle, the answers to them, and how far these may be off."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import BundleCorrupt
from ae_runtime.model.model import Model

_SCORED = ("parts", "scores")  # of the scorer: its third output is one of the scores
_DRAWN = ("noise", "noise_z", "noise_z_deviation")  # of the sampler


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, what was found, and whether it is as it must be."""

    name: str
    found: str
    ok: bool = True


def golden_checks(model: Model, golden: dict[str, NDArray[Any]]) -> list[Check]:
    """Whether this machine gives the answers of read_golden, one check for each output."""
    tolerance = model.manifest.golden.tolerance
    z = model.encode(*(golden[port.name] for port in model.manifest.inputs))
    # From the stored latents, so that a wrong encoder does not show up twice.
    found = dict(zip(_names(model.manifest.outputs), model.decode(golden["z"]), strict=True))
    checks = [golden_check("encoder", z, golden["z"], golden["z_deviation"], tolerance)]
    for name, x_hat in found.items():
        what = "decoder" if len(found) == 1 else f"decoder {name.removeprefix('x_hat_')}"
        checks.append(
            golden_check(what, x_hat, golden[name], golden[f"{name}_deviation"], tolerance)
        )
    if model.manifest.scores:
        # From the stored latents and reconstructions, for the same reason.
        feeds = [golden[port.name] for port in model.manifest.scorer_feeds]
        scored = model.score_rows(feeds)
        for name in _SCORED:
            deviation = golden[f"{name}_deviation"]
            checks.append(golden_check(name, scored[name], golden[name], deviation, tolerance))
    if model.manifest.sampler:
        deviation = golden["noise_z_deviation"]
        drawn = model.latents_of(golden["noise"])
        checks.append(golden_check("sampler", drawn, golden["noise_z"], deviation, tolerance))
    return checks


def batch_check(model: Model, golden: dict[str, NDArray[Any]]) -> Check:
    """Check of how many golden rows have other bits alone than in a batch.

    That is said and never called wrong: modules that were brought are not held to it.
    """

    def outputs(rows: slice) -> list[NDArray[Any]]:
        inputs = [golden[port.name][rows] for port in model.manifest.inputs]
        return [model.encode(*inputs), *model.decode(golden["z"][rows])]

    together, count = outputs(slice(None)), len(golden["z"])
    differ = 0
    for i in range(count):
        pairs = zip(outputs(slice(i, i + 1)), together, strict=True)
        differ += any(one.tobytes() != many[i].tobytes() for one, many in pairs)
    if not differ:
        return Check("batches", "a row has the same bits alone as among others")
    return Check("batches", f"{differ} of {count} golden rows have other bits alone than together")


def _names(ports: list[Port]) -> list[str]:
    return [port.name for port in ports]


def read_golden(model: Model) -> dict[str, NDArray[Any]]:
    """The arrays of golden.npz by name: inputs, z, outputs, scores, samples, and how far off.

    Raises BundleCorrupt if it does not hold what the manifest says.
    """
    manifest, rows = model.manifest, model.manifest.golden.rows
    ports = manifest.scorer_feeds
    if manifest.scores:
        ports += [port for port in manifest.scorer_fetches if port.name in _SCORED]
    answers = [f"{port.name}_deviation" for port in ports[len(manifest.inputs) :]]
    drawn = _DRAWN if manifest.sampler else ()
    try:
        with np.load(io.BytesIO(model.bundle.files["golden.npz"]), allow_pickle=False) as stored:
            golden = {name: np.asarray(stored[name]) for name in (*_names(ports), *answers, *drawn)}
    except Exception as error:  # zipfile, zlib and numpy have a dozen kinds for broken files
        raise BundleCorrupt(f"golden.npz cannot be read ({error}); export again") from None
    fits = all(golden[port.name].shape == (rows, *port.row_shape) for port in ports)
    for name in answers:  # one deviation for all, or one for each column or channel
        last = golden[name.removesuffix("_deviation")].shape[-1:]
        fits = fits and golden[name].shape in (last, (1,))
    for name, port in zip(drawn, [*manifest.sampler_feeds, manifest.latent.port], strict=False):
        fits = fits and golden[name].shape == (len(golden["noise"]), *port.row_shape)
    if not fits:
        raise BundleCorrupt(f"golden.npz does not hold {rows} rows of the bundle; export again")
    return golden


def golden_check(
    name: str,
    found: NDArray[np.generic],
    expected: NDArray[np.generic],
    deviation: NDArray[np.float64],
    tolerance: float,
) -> Check:
    """Whether |found - expected| <= tolerance * deviation + one unit in the last place.

    deviation: one number per column, the column's standard deviation over the training rows, or
    more where sums in float32 are less exact; NaN where values must be equal, as codes of words.
    The unit in the last place of an integer is 1.
    NaN is expected where NaN is stored.
    """
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    unit = last_place(expected)
    allowed = np.nan_to_num(tolerance * deviation + unit)
    bad = (error > allowed) | (np.isnan(found) != np.isnan(expected))
    worst = np.nanmax(error / np.where(deviation > 0, deviation, 1), initial=0.0)
    found_text = f"{len(expected)} golden rows, largest difference {worst:.1e} of a deviation"
    if not bad.any():
        return Check(f"golden {name}", found_text)
    row = int(np.argwhere(bad)[0][0])
    return Check(f"golden {name}", f"{found_text}; row {row} is past {tolerance:g}", ok=False)


def last_place(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """One unit in the last place of each value: 1 for integers, the spacing for floats."""
    if values.dtype.kind in "iu":
        return np.ones(values.shape)
    return np.asarray(np.spacing(np.abs(np.nan_to_num(values))), np.float64)
