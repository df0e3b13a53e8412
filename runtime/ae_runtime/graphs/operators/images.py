"""Operators on images and series: convolutions, pools, resizing, and blocks of pixels."""

from __future__ import annotations

import struct
from math import isfinite, prod

from ae_runtime.graphs.operators.op import Call, Op, Outputs
from ae_runtime.graphs.values import INT64, MAX_DIM, Dims, shown

_REAL_BYTES = 4
_PLACE_BYTES = 8


def _numbers(call: Call, name: str, count: int, default: int) -> list[int]:
    """An attribute that has a number for each of `count` axes or ends."""
    numbers = call.integers.get(name, [default] * count)
    if len(numbers) != count:
        call.refuse(f"has {len(numbers)} {name}; it must have {count}")
    return numbers


def _kernel(call: Call, sizes: Dims) -> list[int]:
    """kernel_shape, which must be that of the weights."""
    kernel = (
        _numbers(call, "kernel_shape", len(sizes), 1) if "kernel_shape" in call.integers else sizes
    )
    if tuple(kernel) != sizes:
        call.refuse(f"has kernel_shape {list(kernel)}, and weights of {shown(sizes)}")
    return list(kernel)


def _pads(call: Call, count: int) -> list[tuple[int, int]]:
    """Padding before and after each axis."""
    pads = _numbers(call, "pads", 2 * count, 0)
    if any(pads) and _auto(call) != "NOTSET":
        call.refuse("has pads and auto_pad")
    return list(zip(pads[:count], pads[count:], strict=True))


def _auto(call: Call) -> str:
    auto = call.node.texts.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        call.refuse(f"has auto_pad {auto!r:.60}")
    return auto


def _windows(call: Call, sizes: Dims, kernel: list[int]) -> Dims:
    """How many windows fit along each axis."""
    count = len(sizes)
    strides, dilations = (_numbers(call, name, count, 1) for name in ("strides", "dilations"))
    pads, same = _pads(call, count), _auto(call).startswith("SAME")
    if same and (max(dilations) > 1 or call.flag("ceil_mode")):
        call.refuse("has auto_pad, and dilations or ceil_mode")
    found = []
    for size, wide, stride, dilation, (before, after) in zip(
        sizes, kernel, strides, dilations, pads, strict=True
    ):
        room = size + before + after - dilation * (wide - 1) - 1
        if size < 1 or (room < 0 and not same):
            call.refuse(f"has a kernel of {kernel} on {shown(sizes)}, which is larger")
        if same:
            found.append(-(-size // stride))
        elif call.flag("ceil_mode"):
            more = -(-room // stride)
            found.append(more + (more * stride < size + before))  # none begins behind the end
        else:
            found.append(room // stride + 1)
    return tuple(found)


def _conv(call: Call) -> list[Dims]:
    x, weights, group = call.dims(0, least=3), call.dims(1), call.number("group", 1)
    if len(weights) != len(x) or x[1] != weights[1] * group or weights[0] % group:
        call.refuse(f"takes {shown(x)} and weights {shown(weights)}, which do not fit")
    call.check_dims(2, (weights[0],))
    return [(x[0], weights[0], *_windows(call, x[2:], _kernel(call, weights[2:])))]


def _conv_workspace(call: Call, outputs: Outputs) -> int:
    """Bytes of the windows of one image, each laid out as a column, and of images reordered."""
    columns = prod(call.dims(1)[1:]) * prod(outputs[0].dims[2:])
    return _REAL_BYTES * columns + _reordered(call, outputs)


def _reordered(call: Call, outputs: Outputs) -> int:
    """Bytes of the input or the output in another layout."""
    return max(call.input().nbytes, outputs[0].nbytes)


def _conv_products(call: Call, outputs: Outputs) -> int:
    return prod(outputs[0].dims) * prod(call.dims(1)[1:])


def _conv_transpose(call: Call) -> list[Dims]:
    x, weights, group = call.dims(0, least=3), call.dims(1), call.number("group", 1)
    if len(weights) != len(x) or x[1] != weights[0] or x[1] % group:
        call.refuse(f"takes {shown(x)} and weights {shown(weights)}, which do not fit")
    call.check_dims(2, (weights[1] * group,))
    count, kernel = len(x) - 2, _kernel(call, weights[2:])
    strides, dilations = (_numbers(call, name, count, 1) for name in ("strides", "dilations"))
    pads, more = _pads(call, count), _numbers(call, "output_padding", count, 0)
    found = []
    for at, size in enumerate(x[2:]):
        if more[at] >= max(strides[at], dilations[at]):
            call.refuse(f"has output_padding {more}, which is not less than its strides")
        wide = (size - 1) * strides[at] + more[at] + dilations[at] * (kernel[at] - 1) + 1
        same = _auto(call).startswith("SAME")
        found.append(min(wide, size * strides[at]) if same else wide - sum(pads[at]))
        if size < 1 or found[at] < 1:
            call.refuse(f"makes nothing of {shown(x)}")
    return [(x[0], weights[1] * group, *found)]


def _conv_transpose_workspace(call: Call, outputs: Outputs) -> int:
    return _REAL_BYTES * prod(call.dims(1)[1:]) * prod(call.dims(0)[2:])


def _conv_transpose_products(call: Call, outputs: Outputs) -> int:
    return prod(call.dims(0)) * prod(call.dims(1)[1:])


def _pool(call: Call) -> list[Dims]:
    x = call.dims(0, least=3)
    kernel = _numbers(call, "kernel_shape", len(x) - 2, 0)
    pads = _numbers(call, "pads", 2 * len(kernel), 0)
    if any(pad >= wide for pad, wide in zip(pads, kernel * 2, strict=True)):
        call.refuse(f"has pads {pads} around a kernel of {kernel}")
    return [(*x[:2], *_windows(call, x[2:], kernel))] * 2


def _global_pool(call: Call) -> list[Dims]:
    x = call.dims(0, least=3)
    return [(*x[:2], *[1] * (len(x) - 2))]


def _depth_to_space(call: Call) -> list[Dims]:
    (n, c, h, w), block = _image(call)
    if c % (block * block):
        call.refuse(f"cannot take blocks of {block} from {c} channels")
    return [(n, c // (block * block), h * block, w * block)]


def _space_to_depth(call: Call) -> list[Dims]:
    (n, c, h, w), block = _image(call)
    if h % block or w % block:
        call.refuse(f"cannot take blocks of {block} from {shown((h, w))}")
    return [(n, c * block * block, h // block, w // block)]


def _image(call: Call) -> tuple[Dims, int]:
    dims, block = call.dims(), call.number("blocksize", 0)
    if len(dims) != 4 or block < 1:
        call.refuse(f"has blocksize {block} for {shown(dims)}")
    return dims, block


def _resize(call: Call) -> list[Dims]:
    dims = list(call.dims())
    if call.node.texts.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        # Others say "at least": of an axis of 1, they could make any size.
        call.refuse("has a keep_aspect_ratio_policy, which is not taken")
    axes = [call.axis(n, len(dims)) for n in call.integers.get("axes", range(len(dims)))]
    scales, sizes = (
        value if value and value.dims != (0,) else None
        for value in (call.optional(2), call.optional(3))
    )
    if scales and not sizes:
        asked = scales.reals
    elif sizes and not scales:
        asked = call.numbers(3)
    else:
        call.refuse("must be given either scales or sizes")
    if asked is None or len(asked) != len(axes) or len(set(axes)) != len(axes):
        call.refuse(f"is not given a constant size for each axis of {shown(tuple(dims))}")
    for axis, number in zip(axes, asked, strict=True):
        dims[axis] = _scaled(call, dims[axis], number) if scales else int(number)
    return [tuple(dims)]


def _resize_workspace(call: Call, outputs: Outputs) -> int:
    """Bytes of what is resized along one axis and not yet along the next."""
    pairs = zip(call.dims(), outputs[0].dims, strict=True)
    return _PLACE_BYTES * prod(map(max, pairs)) if call.flag("antialias") else 0


def _scaled(call: Call, size: int, factor: float) -> int:
    """A size times a factor, in float32 as onnxruntime has it."""
    if factor == 1:
        return size
    if not isfinite(factor) or factor <= 0 or size > MAX_DIM:
        call.refuse(f"is given factor {factor:g} for an axis of {shown((size,))}")
    return int(_float32(min(_float32(size) * factor, 2.0 * MAX_DIM)))


def _float32(number: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


OPERATORS = {
    "Conv": Op(
        _conv,
        workspace=_conv_workspace,
        products=_conv_products,
        bounds_attributes=True,
        nonempty_from=1,
        reorders_weights=True,
        blocks_channels=True,
    ),
    "ConvTranspose": Op(
        _conv_transpose,
        workspace=_conv_transpose_workspace,
        products=_conv_transpose_products,
        bounds_attributes=True,
        nonempty_from=0,
        reorders_weights=True,
    ),
    "MaxPool": Op(_pool, second_dtype=INT64, workspace=_reordered, bounds_attributes=True),
    "AveragePool": Op(_pool, workspace=_reordered, bounds_attributes=True),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), Op(_global_pool, workspace=_reordered)),
    "DepthToSpace": Op(_depth_to_space, bounds_attributes=True),
    "SpaceToDepth": Op(_space_to_depth, bounds_attributes=True),
    "Resize": Op(_resize, workspace=_resize_workspace, skips_inputs=True),
}
