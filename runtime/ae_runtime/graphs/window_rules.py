"""Dims of what convolutions, pools, recurrent operators, norms and resizing give."""

from __future__ import annotations

import struct
from math import isfinite, prod

from ae_runtime.graphs.shape_rules import Rule, fits
from ae_runtime.graphs.values import MAX_DIM, Call, Dims, shown

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}  # blocks in the weights of recurrent operators


def _numbers(call: Call, name: str, count: int, default: int) -> list[int]:
    """An attribute that has a number for each of `count` axes or ends."""
    numbers = call.whole.get(name, [default] * count)
    if len(numbers) != count:
        call.refuse(f"has {len(numbers)} {name}; it must have {count}")
    return numbers


def _kernel(call: Call, sizes: Dims) -> list[int]:
    """kernel_shape, which must be that of the weights."""
    kernel = (
        _numbers(call, "kernel_shape", len(sizes), 1) if "kernel_shape" in call.whole else sizes
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
    _has(call, 2, (weights[0],))
    return [(x[0], weights[0], *_windows(call, x[2:], _kernel(call, weights[2:])))]


def _has(call: Call, at: int, dims: Dims) -> None:
    """Complain unless its input `at`, if there is one, has these dims."""
    value = call.given(at)
    if value is not None and value.dims != dims:
        call.refuse(f"takes {shown(value.dims)} where it needs {shown(dims)}")


def _conv_transpose(call: Call) -> list[Dims]:
    x, weights, group = call.dims(0, least=3), call.dims(1), call.number("group", 1)
    if len(weights) != len(x) or x[1] != weights[0] or x[1] % group:
        call.refuse(f"takes {shown(x)} and weights {shown(weights)}, which do not fit")
    _has(call, 2, (weights[1] * group,))
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


def _batch_norm(call: Call) -> list[Dims]:
    x = call.dims(0, least=1)
    channels = x[1:2] or (1,)
    for at in range(1, 5):
        call.input(at)
        _has(call, at, channels)
    return [x, channels, channels]


def _layer_norm(call: Call) -> list[Dims]:
    x = call.dims()
    axis = call.axis(call.number("axis", -1), len(x))
    call.input(1)
    for at in (1, 2):
        fits(call, at, x[axis:])
    return [x, *[(*x[:axis], *[1] * (len(x) - axis))] * 2]


def _instance_norm(call: Call) -> list[Dims]:
    x = call.dims(0, least=3)
    for at in (1, 2):
        call.input(at)
        _has(call, at, x[1:2])
    return [x]


def _recurrent(call: Call) -> list[Dims]:
    x, w, r = call.dims(0, least=3), call.dims(1), call.dims(2)
    size, gates = call.number("hidden_size", 0), GATES[call.node.op]
    ways = 2 if call.node.texts.get("direction") == "bidirectional" else 1
    if call.flag("layout"):
        call.refuse("has layout 1, which onnxruntime does not take")
    steps, rows = x[:2]
    wanted = (ways, gates * size, x[2]), (ways, gates * size, size)
    if len(x) != 3 or (w, r) != wanted:
        call.refuse(f"takes {shown(x)} and weights {shown(w)}, {shown(r)}, which do not fit")
    for at, dims in (
        (3, (ways, 2 * gates * size)),
        (4, (rows,)),
        *((at, (ways, rows, size)) for at in (5, 6)),
        (7, (ways, 3 * size)),
    ):
        _has(call, at, dims)
    return [(steps, ways, rows, size), *[(ways, rows, size)] * 2]


def _quantize(call: Call) -> list[Dims]:
    x, scale = call.dims(), call.dims(1)
    if prod(scale) != 1 or len(scale) > 1:
        axis = call.axis(call.number("axis", 1), len(x))
        if scale != (x[axis],):
            call.refuse(f"takes {shown(x)} and a scale of {shown(scale)}, which do not fit")
    _has(call, 2, scale)
    return [x]


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
    axes = [call.axis(n, len(dims)) for n in call.whole.get("axes", range(len(dims)))]
    scales, sizes = (
        value if value and value.dims != (0,) else None for value in (call.given(2), call.given(3))
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


RULES: dict[str, Rule] = {
    **{"Conv": _conv, "ConvTranspose": _conv_transpose},
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **{"BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm},
    **{"InstanceNormalization": _instance_norm, "Resize": _resize},
    **dict.fromkeys(GATES, _recurrent),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    **{"DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth},
}
