"""What a graph asks for by numbers: strides, sizes and shapes, which take but a few bytes to say.

Bounds on them are checks of admission, like those in admission.py.
"""

from __future__ import annotations

from math import inf, prod

from ae_runtime.graph import Graph, Tensor
from ae_runtime.values import constants, integers, makers, reals, shape_numbers

MAX_RANK = 8
MAX_DIM = 1 << 28
# Of a convolution: the largest kernel, stride, padding and dilation; and by how much the transposed
# ones of a graph may widen an image or window altogether (six that double it).
MAX_STEP = 64
MAX_WIDENING = 64
_STEPS = ("kernel_shape", "strides", "dilations")  # one number for each axis
_RANGES = {
    **dict.fromkeys((*_STEPS, "blocksize"), (1, MAX_STEP)),
    "group": (1, MAX_DIM),
    "hidden_size": (1, 1 << 16),
}
_RANGED = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth"),
    *("GRU", "LSTM", "RNN"),
)
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}  # blocks in the weights of recurrent operators
_NOT_TAKEN = ("output_shape", "activation_alpha", "activation_beta")
MAX_ASKED = 1 << 24  # product of the whole numbers in a shape that an operator is given
MAX_GROWTH = 1 << 16  # of a value by all Tile and Resize operators together, or by one Pad of 1
MAX_PADDED = 1 << 12  # by all Pad operators together


def convolutions(graph: Graph) -> list[str]:
    """Complaints on numbers of convolutions, pools and recurrent operators.

    They could ask for any amount of memory, and by sizes of 0 onnxruntime divides.
    """
    complaints, widening = [], 1
    for node in graph.nodes:
        if node.op not in _RANGED:
            continue
        complaints += [
            f"operator {node.op} has {name}, which is not taken"
            for name in _NOT_TAKEN
            if name in node.attributes
        ]
        for name, numbers in node.integers:
            least, most = _RANGES.get(name, (0, MAX_STEP))
            if any(not least <= number <= most for number in numbers):
                complaints.append(
                    f"operator {node.op} has {name:.60} {numbers[:MAX_RANK]}; "
                    f"{least} to {most} are taken"
                )
        if not _is_even(dict(node.integers)):
            complaints.append(f"operator {node.op} has numbers for more axes, and for fewer")
        if node.op == "ConvTranspose":
            widening *= max(dict(node.integers).get("strides", [1]))
    if widening > MAX_WIDENING:
        complaints.append(
            f"its ConvTranspose operators widen {widening} times; at most {MAX_WIDENING} is taken"
        )
    return complaints


def _is_even(lists: dict[str, list[int]]) -> bool:
    """Whether all lists of numbers of a convolution are for as many axes as each other."""
    axes = {len(lists[name]) for name in (*_STEPS, "output_padding") if name in lists}
    alone = "output_padding" in lists and "strides" not in lists
    return not alone and len(axes | {len(lists["pads"]) / 2} if "pads" in lists else axes) < 2


def recurrent_weights(graph: Graph) -> list[str]:
    """Complaints on recurrent operators without as many weights as their hidden_size says.

    onnxruntime 1.23 reads that many, whether they are there or not.
    """
    known = constants(graph)
    complaints = []
    for node in graph.nodes:
        if node.op in _GATES:
            size = dict(node.integers).get("hidden_size", [0])[0]
            rows = _GATES[node.op] * size
            w, r = ([*known.get(name, Tensor()).dims] for name in [*node.inputs, "", "", ""][1:3])
            if (w[1:2], r[1:]) != ([rows], [rows, size]):
                complaints.append(
                    f"operator {node.op} must have constant weights, of its hidden_size"
                )
    return complaints


def axes(graph: Graph) -> list[str]:
    """Complaints on axes that no tensor has, of which onnxruntime 1.23 keeps some of the bits."""
    return [
        f"operator {node.op} has axis {numbers[:MAX_RANK]}; 0 to {MAX_RANK} are taken, or as many "
        "from the end"
        for node in graph.nodes
        for name, numbers in node.integers
        if name == "axis" and any((number + MAX_RANK) % 2**64 > 2 * MAX_RANK for number in numbers)
    ]


def shapes(graph: Graph) -> list[str]:
    """Complaints on shapes that operators are given, which could ask for any amount of memory."""
    known, made_by = constants(graph), makers(graph)

    def asked(name: str) -> int:
        """Product of the numbers in a shape; more than MAX_ASKED if one is not known."""
        product, taken = 1, 0
        for number in shape_numbers(name, known, made_by):
            taken += isinstance(number, str)
            if number is None or taken > 1:  # a second Shape would square what is there
                return MAX_ASKED + 1
            product *= max(1, abs(number)) if isinstance(number, int) else 1
            if product > MAX_ASKED:
                break
        return product

    complaints, growth, padded = [], 1.0, 0
    for node in graph.nodes:
        inputs = [*node.inputs, "", "", "", ""]
        limit, found = MAX_ASKED, 1.0
        if node.op in ("Expand", "ConstantOfShape"):
            found = asked(inputs[node.op == "Expand"])
        elif node.op == "Tile":
            found = asked(inputs[1])
            growth *= found
        elif node.op == "Resize":
            found = asked(inputs[3]) if inputs[3] else _scaled(known.get(inputs[2], Tensor()))
            growth *= 1 if inputs[3] else found
            # Others say "at least": of an axis of 1, they could make any size.
            if node.texts.get("keep_aspect_ratio_policy", "stretch") != "stretch":
                found = inf
        elif node.op == "Pad":
            pads = list(integers(known.get(inputs[1], Tensor())))
            limit, found = MAX_GROWTH, _widened(pads)
            padded += sum(abs(number or 0) for number in pads)
        if found > limit:
            complaints.append(
                f"operator {node.op} is given a shape that is not bounded; sizes must be "
                f"constants, at most {limit} together, or come from one Shape"
            )
    if growth > MAX_GROWTH:
        complaints.append(f"its Tile and Resize operators ask for more than {MAX_GROWTH} times")
    if padded > MAX_PADDED:
        complaints.append(f"its Pad operators add {padded}; at most {MAX_PADDED} is taken")
    return complaints


def _scaled(scales: Tensor) -> float:
    """How many times more elements Resize gives; infinity if that is not known."""
    factors = reals(scales)
    usable = factors and all(0 < factor <= MAX_STEP for factor in factors)
    return prod(max(1, factor) for factor in factors) if usable else inf


def _widened(pads: list[int | None]) -> float:
    """How many times more elements Pad gives of axes of 1; infinity if that is not known."""
    half = len(pads) // 2
    if len(pads) % 2 or None in pads:
        return inf
    return prod(
        1 + abs(before or 0) + abs(after or 0)
        for before, after in zip(pads[:half], pads[half:], strict=True)
    )
