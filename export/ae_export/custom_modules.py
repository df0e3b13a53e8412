"""Modules trained elsewhere: their outputs in float64, and checks that they are functions."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ae_export.export_source import ExportSource, Wrapped
from ae_export.reference import Bounds, Parts, distance_factor, mean_square, units_of
from ae_runtime.bundle.manifest import Latent, Port
from ae_runtime.errors import VerificationFailed

Array = NDArray[Any]
HELD_ROWS, CALIBRATION_ROWS, ALONE_ROWS = 256, 1024, 16
_PCA_NUMBERS = 1 << 22  # numbers of the example that PCA is fitted to


class CustomModules:
    """Copies of the modules in eval mode, and in float64 as the reference of their graphs."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, x: Array, tolerance: float) -> None:
        self.names = f"{type(encoder).__name__} and {type(decoder).__name__}"
        self.encoder, self.decoder = (
            _copied(module, which).cpu().eval().requires_grad_(False)
            for which, module in (("encoder", encoder), ("decoder", decoder))
        )
        self._exact = {
            "encoder": copy.deepcopy(self.encoder).double(),
            "decoder": copy.deepcopy(self.decoder).double(),
        }
        self.x, self.tolerance = x, tolerance
        with torch.no_grad():
            z = self._checked(self.encoder, x[:2], "encoder")
        if z.ndim != 2 or z.dtype != torch.float32:
            raise VerificationFailed(
                f"the encoder gives {_form(z)}; a bundle's encoder gives z (B, K) float32"
            )
        with torch.no_grad():
            x_hat = self._checked(self.decoder, z.numpy(), "decoder")
        if x_hat.shape != x[:2].shape or str(x_hat.dtype) != f"torch.{x.dtype}":
            raise VerificationFailed(
                f"the decoder gives {_form(x_hat)} for 2 rows of {x.shape[1:]} {x.dtype}; a bundle "
                "gives back what it takes: reshape and cast inside of the decoder"
            )
        self._check_behaviour()
        codes = self._run("encoder", x[:CALIBRATION_ROWS])
        self.z_mean, self.z_spread = codes.mean(0), codes.std(0)
        self.z_std = units_of(self.z_spread)
        rows = x[:CALIBRATION_ROWS].astype(np.float64)
        axes = 0 if x.ndim == 2 else None
        self.mean = np.atleast_1d(rows.mean(axis=axes))
        self.std = self._unit(np.atleast_1d(rows.std(axis=axes)), codes.astype(np.float32))
        self.integer = np.zeros(1, bool)
        self.x_hat_stds: tuple[Array, ...] = (self.std,)

    def _unit(self, spread: Array, z: Array) -> Array:
        """Units of the errors of x_hat: the std of each column, but for the smallest.

        A network gives a column that hardly varies no more exactly than the others, so it is held
        to what the module itself errs there in float32, but at most to a std of all columns.
        """
        largest = float(np.sqrt(np.mean(spread**2))) or 1.0
        with torch.no_grad():
            x_hat = self._checked(self.decoder, z, "decoder").numpy()
        errors = np.abs(x_hat.astype(np.float64) - self._run("decoder", z))
        noise = errors.max(axis=0 if len(spread) > 1 else None) / self.tolerance
        return np.where(spread > 0, np.maximum(spread, np.minimum(4 * noise, largest)), largest)

    def source(self) -> ExportSource:
        x, row = self.x, list(self.x.shape[1:])
        return ExportSource(
            encoder=_OfArray(self.encoder),
            decoder=_OfArray(self.decoder),
            inputs=[Port("x", x.dtype.name, [None, *row])],  # type: ignore[arg-type]
            outputs=[Port("x_hat", x.dtype.name, [None, *row])],  # type: ignore[arg-type]
            latent=Latent(len(self.z_std), "custom"),
            reference=self,
            held_out=(x[:HELD_ROWS],),
            edge=(np.stack([x.min(0), x.max(0), np.zeros_like(x[0])]),),
            calibration=(x[:CALIBRATION_ROWS],),
            takes_missing=False,
        )

    def distance_factor(self, parts: Parts) -> Array:
        return distance_factor((parts[0].astype(np.float64) - self.mean) / self.std)

    def encode(self, parts: Parts) -> Bounds:
        far = self.distance_factor(parts)
        return self._bounds(self._run("encoder", parts[0]), self.z_std, far, slack=0.0)

    def decode(self, z: Array, far: Array) -> list[Bounds]:
        x_hat = self._run("decoder", z)
        # Where the module rounds cannot be seen from outside: the next integer may be right.
        slack = 1.0 if self.x.dtype == np.uint8 else 0.0
        return [self._bounds(x_hat, self.std, far, slack)]

    def _bounds(self, expected: Array, std: Array, far: Array, slack: float) -> Bounds:
        rows = far.reshape(-1, *[1] * (expected.ndim - 1))
        allowed = self.tolerance * std * rows + slack
        jumps = np.full(expected.shape, slack > 0)
        return Bounds(expected, expected - allowed, expected + allowed, std, jumps)

    def error(self, parts: Parts, x_hat: Sequence[Array]) -> float:
        errors = x_hat[0].astype(np.float64) - parts[0].astype(np.float64)
        return mean_square((errors / self.std).ravel())

    def draw(self, random: np.random.Generator, rows: int) -> Parts:
        z = self.z_mean + self.z_spread * random.standard_normal((rows, len(self.z_mean)))
        return (self._run("decoder", z.astype(np.float32)).astype(self.x.dtype),)

    def figures(self) -> tuple[float, float, float]:
        """Errors on the example in std: of the modules, of PCA fitted to it, of its mean."""
        rows = self.x[: max(2, _PCA_NUMBERS // self.x[0].size)][:CALIBRATION_ROWS]
        x_hat = self._run("decoder", self._run("encoder", rows).astype(np.float32))
        scaled = ((rows - self.mean) / self.std).reshape(len(rows), -1)
        centred = scaled - scaled.mean(0)
        spectrum = np.linalg.svd(centred, compute_uv=False) ** 2
        left = spectrum[len(self.z_std) :].sum() / scaled.size
        return self.error((rows,), [x_hat]), float(left), float(np.mean(centred**2))

    def _run(self, which: str, rows: Array) -> Array:
        """The output of a module for rows, computed in float64 throughout."""
        with torch.no_grad(), _float64():
            output = self._checked(self._exact[which], rows, which, exact=True)
        return output.numpy().astype(np.float64)

    def _checked(self, module: nn.Module, rows: Array, which: str, exact: bool = False) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        try:
            output = module(tensor.double() if exact and tensor.is_floating_point() else tensor)
        except Exception as error:  # whatever somebody's module may raise
            reason = (str(error).splitlines() or [""])[0]
            how = "in float64, which it is verified in" if exact else "at all"
            todo = "; register its tensors as buffers" if exact else ""
            raise VerificationFailed(
                f"the {which} does not take {_form(tensor)} {how}: {type(error).__name__}: "
                f"{reason}{todo}"
            ) from None
        if not isinstance(output, Tensor):
            raise VerificationFailed(
                f"the {which} gives {type(output).__name__}, not a tensor; wrap it in a module "
                "that picks one"
            )
        return output

    def _check_behaviour(self) -> None:
        """Raise VerificationFailed unless modules are functions of single rows."""
        z = self._run("encoder", self.x[:ALONE_ROWS]).astype(np.float32)
        for which, rows in (("encoder", self.x[:ALONE_ROWS]), ("decoder", z)):
            once, again = self._run(which, rows), self._run(which, rows)
            if not np.array_equal(once, again, equal_nan=True):
                raise VerificationFailed(
                    f"the {which} gives other values for the same rows each time; a bundle's is a "
                    "function: give a mean in place of a draw, and keep nothing between calls"
                )
            alone = np.concatenate([self._run(which, rows[i : i + 1]) for i in range(len(rows))])
            scale = np.abs(once).max(initial=1.0)
            if alone.shape != once.shape or not np.allclose(alone, once, rtol=0, atol=1e-9 * scale):
                raise VerificationFailed(
                    f"the {which} gives other values for a row alone than among others; a bundle's "
                    "rows must not influence each other"
                )


class _OfArray(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _InFloat64(TorchDispatchMode):
    """A mode in which a module gets float64 for every float32 tensor that it makes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _InFloat64():
            yield
    finally:
        torch.set_default_dtype(before)


def _copied(module: nn.Module, which: str) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever somebody's module may hold
        reason = (str(error).splitlines() or [""])[0]
        raise VerificationFailed(
            f"the {which} cannot be copied: {type(error).__name__}: {reason}; give one without "
            "what training left in it, such as weight norms"
        ) from None


def _form(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
