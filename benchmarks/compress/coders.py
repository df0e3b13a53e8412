"""SZ3, zfp, pcodec and zlib, each as a pair of functions from an array to bytes and back."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import zfpy
from pcodec import ChunkConfig, standalone
from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode
from steps import narrow, values, whole

Array = np.ndarray[Any, Any]
_SZ3 = {
    "interpolation or Lorenzo": szAlgorithm.INTERP_LORENZO,
    "interpolation": szAlgorithm.INTERP,
    "Lorenzo and regression": szAlgorithm.LORENZO_REG,
}
_ZFP_TOLERANCES = (4.0, 2.0, 1.0)  # times the bound, which it stays below by about that much


class Coder(NamedTuple):
    """pack(a, bound): bytes of a float32 array of which no value may be further off than bound.

    unpack(raw, shape, bound): the array (*shape).
    """

    name: str
    pack: Callable[[Array, float], bytes]
    unpack: Callable[[bytes, tuple[int, ...], float], Array]


def sz3() -> list[Coder]:
    """SZ3 with each of its predictors."""
    return [
        Coder(
            name,
            lambda a, bound, how=how: _sz3(a, bound, how),
            lambda raw, shape, bound: _from_sz3(raw, shape),
        )
        for name, how in _SZ3.items()
    ]


def zfp() -> list[Coder]:
    """The accuracy mode of zfp, asked for the bound and for more."""
    return [
        Coder(
            f"tolerance {times:g}",
            lambda a, bound, times=times: zfpy.compress_numpy(
                np.ascontiguousarray(a), tolerance=times * bound
            ),
            lambda raw, shape, bound: zfpy.decompress_numpy(raw),
        )
        for times in _ZFP_TOLERANCES
    ]


def pcodec() -> list[Coder]:
    """Whole steps of twice the bound, packed by pcodec with its default settings."""
    return [
        Coder(
            "whole steps",
            lambda a, bound: standalone.simple_compress(whole(a, bound).reshape(-1), ChunkConfig()),
            lambda raw, shape, bound: values(
                standalone.simple_decompress(raw).reshape(shape), bound
            ),
        )
    ]


def deflate() -> list[Coder]:
    """The same whole steps in the smallest integers that hold them, packed by zlib."""
    return [
        Coder(
            "whole steps",
            lambda a, bound: zlib.compress(narrow(whole(a, bound)).tobytes(), 9),
            lambda raw, shape, bound: values(_from_deflate(raw, shape), bound),
        )
    ]


def _sz3(a: Array, bound: float, how: int) -> bytes:
    config = szConfig(a.shape)
    config.errorBoundMode = szErrorBoundMode.ABS
    config.absErrorBound = bound
    config.cmprAlgo = how
    return sz.compress(np.ascontiguousarray(a), config)[0].tobytes()


def _from_sz3(raw: bytes, shape: tuple[int, ...]) -> Array:
    return sz.decompress(np.frombuffer(raw, np.uint8), np.float32, shape)[0]


def _from_deflate(raw: bytes, shape: tuple[int, ...]) -> Array:
    plain = zlib.decompress(raw)
    itemsize = len(plain) // int(np.prod(shape))
    return np.frombuffer(plain, f"i{itemsize}").reshape(shape)
