"""Check that this machine computes what the golden vectors say, and describe its set-up."""

from __future__ import annotations

import importlib.metadata
import io
import platform
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ae_runtime.autoencoder import Autoencoder
from ae_runtime.devices import available_cpus, telemetry_state


@dataclass(frozen=True)
class Check:
    """One line of the page: what was looked at, what was found, and whether it is as it must be."""

    name: str
    found: str
    ok: bool = True


def examine(ae: Autoencoder) -> list[Check]:
    """Every check of this machine and this bundle."""
    golden = dict(np.load(io.BytesIO(ae.bundle.files["golden.npz"]), allow_pickle=False))
    tolerance = ae.manifest.golden.tolerance
    z = ae.encode(golden["x"])
    # From the stored latents, so that a wrong encoder does not show up twice.
    x_hat = ae.decode(golden["z"])
    return [
        *_set_up(ae),
        golden_check("encoder", z, golden["z"], golden["z_deviation"], tolerance),
        golden_check("decoder", x_hat, golden["x_hat"], golden["x_hat_deviation"], tolerance),
    ]


def golden_check(
    name: str,
    found: NDArray[np.generic],
    expected: NDArray[np.generic],
    deviation: NDArray[np.float64],
    tolerance: float,
) -> Check:
    """Whether |found - expected| <= tolerance * deviation + one unit in the last place.

    deviation: one number per column, the column's standard deviation over the training rows. The
    unit in the last place of an integer is 1. NaN is expected where NaN is stored.
    """
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    unit = last_place(expected)
    allowed = tolerance * deviation + unit
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


def _set_up(ae: Autoencoder) -> list[Check]:
    runtimes = _installed("onnxruntime", "onnxruntime-gpu")
    session = ae._engine.session("encoder")
    return [
        Check(
            "machine",
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        ),
        Check(
            "onnxruntime",
            ", ".join(runtimes) + ("" if len(runtimes) == 1 else "; both installed: remove one"),
            ok=len(runtimes) == 1,
        ),
        Check("numpy", np.__version__),
        Check("provider", ", ".join(session.get_providers())),
        Check("threads", f"{ae.threads} of {available_cpus()} that this process may use"),
        Check("telemetry", telemetry_state(), ok=telemetry_state() == "off"),
    ]


def _installed(*names: str) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
