"""Numbers that operators are given as attributes: strides, sizes and kernels, all bounded."""

from __future__ import annotations

from ae_runtime.graphs.graph import Graph
from ae_runtime.graphs.values import MAX_DIM, MAX_RANK

# Of a convolution: the largest kernel, stride, padding and dilation.
MAX_STEP = 64
_RANGES = {
    **dict.fromkeys(("kernel_shape", "strides", "dilations", "blocksize"), (1, MAX_STEP)),
    "group": (1, MAX_DIM),
    "hidden_size": (1, 1 << 16),
}
_RANGED = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth"),
    *("GRU", "LSTM", "RNN"),
)
_NOT_TAKEN = ("output_shape", "activation_alpha", "activation_beta")


def numbers(graph: Graph) -> list[str]:
    """Complaints on numbers of convolutions, pools and recurrent operators.

    By sizes of 0 onnxruntime divides, and of absurd ones it keeps some of the bits.
    """
    complaints = []
    for node in graph.nodes:
        if node.op not in _RANGED:
            continue
        complaints += [
            f"operator {node.op} has {name}, which is not taken"
            for name in _NOT_TAKEN
            if name in node.attributes
        ]
        for name, found in node.integers:
            least, most = _RANGES.get(name, (0, MAX_STEP))
            if any(not least <= number <= most for number in found):
                complaints.append(
                    f"operator {node.op} has {name:.60} {found[:MAX_RANK]}; "
                    f"{least} to {most} are taken"
                )
    return complaints
