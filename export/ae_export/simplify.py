"""Simplify a traced graph: no dead or doubled nodes, names from the modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from ae_runtime import extras

_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note on which module a node comes from
_RECURRENT = ("GRU", "LSTM", "RNN")
_STATES = (5, 6)  # inputs initial_h and initial_c


def simplify(model: Any) -> None:
    """Simplify an onnx_ir model in place; what it computes stays the same."""
    passes = extras.need("onnx_ir.passes.common", "export")
    for node in list(model.graph):
        if node.op_type in _RECURRENT and node.domain == "":
            _forget_zero_states(node)
            _squeeze_direction(model.graph, node)
    for node in list(model.graph):
        if node.op_type == "Reshape" and node.domain == "":
            _shorten_reshape(node)
    for change in (
        passes.LiftConstantsToInitializersPass(),
        passes.IdentityEliminationPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
    ):
        change(model)
    _rename(model.graph)


def _forget_zero_states(node: Any) -> None:
    """Drop first states of zeros, which are the default, and would need the batch's size."""
    for at in _STATES:
        if at < len(node.inputs) and _is_zero(node.inputs[at]):
            node.replace_input_with(at, None)


def _is_zero(value: Any) -> bool:
    """Whether a value is zeros, cut or repeated to some shape."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is None or node.op_type not in ("Expand", "Slice", "Identity"):
            return False
        value = node.inputs[0]
    return value is not None and not np.any(value.const_value.numpy())


def _squeeze_direction(graph: Any, node: Any) -> None:
    """Bring Y (T, 1, B, H) of one direction to (T, B, H) by Squeeze, not by a computed Reshape."""
    direction = node.attributes.get("direction")
    if direction is not None and direction.as_string() == "bidirectional":
        return
    transposed = [n for n, _ in node.outputs[0].uses() if n.op_type == "Transpose"]
    if len(transposed) != 1 or list(transposed[0].attributes["perm"].as_ints()) != [0, 2, 1, 3]:
        return
    reshaped = [n for n, _ in transposed[0].outputs[0].uses() if n.op_type == "Reshape"]
    if len(reshaped) != 1:
        return
    ir = extras.need("onnx_ir", "export")
    axis = ir.Value(name=f"{node.name}_axis", const_value=ir.tensor(np.array([1], np.int64)))
    graph.register_initializer(axis)
    squeeze = ir.node("Squeeze", [node.outputs[0], axis], name=f"{node.name}_squeeze")
    squeeze.metadata_props.update(node.metadata_props)
    squeeze.outputs[0].name = f"{node.name}_squeezed"
    graph.insert_before(reshaped[0], squeeze)
    reshaped[0].outputs[0].replace_all_uses_with(squeeze.outputs[0])


def _shorten_reshape(node: Any) -> None:
    """Keep only the last of Reshapes in a row, and none to the shape that is there already."""
    shape = node.inputs[1].const_value
    if shape is None or 0 in shape.numpy():  # a 0 stands for the size of the input
        return
    while (before := node.inputs[0].producer()) is not None and before.op_type == "Reshape":
        node.replace_input_with(0, before.inputs[0])
    target, before_shape = shape.numpy().tolist(), node.inputs[0].shape
    same = before_shape is not None and len(before_shape) == len(target) and target[0] == -1
    if same and list(before_shape)[1:] == target[1:] and not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(node.inputs[0])


def _rename(graph: Any) -> None:
    """Name nodes and outputs module/path/Operator, constants after the node that uses them."""
    ports = {value.name for value in (*graph.inputs, *graph.outputs)}
    # In order: a set's differs from process to process, and with it the bytes.
    weights = [name for name in graph.initializers if "." in name]
    taken = set(ports)
    renamed = {name: _unique(_without_wrapper(name), taken) for name in weights}
    for node in graph:
        node.name = _unique(_path(node), taken)
        for at, value in enumerate(node.outputs):
            if value.name not in ports:
                value.name = node.name if at == 0 else _unique(f"{node.name}.{at}", taken)
        for at, value in _constants(graph, node):
            if value.name not in renamed:
                renamed[value.name] = _unique(f"{node.name}.{at}", taken)
    values = {name: graph.initializers[name] for name in renamed}
    for old in values:  # all away first, for a new name may be another's old one
        del graph.initializers[old]
    for old, value in values.items():
        value.name = renamed[old]
        graph.register_initializer(value)


def _constants(graph: Any, node: Any) -> Iterator[tuple[int, Any]]:
    for at, value in enumerate(node.inputs):
        if value is not None and value.name in graph.initializers:
            yield at, value


def _path(node: Any) -> str:
    try:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    except (SyntaxError, ValueError):
        scopes = []
    module = scopes[-2] if len(scopes) > 1 and not scopes[-2].startswith("_") else ""
    parts = [*_without_wrapper(module).split("."), node.op_type]
    return "/".join(part for part in parts if part)


def _without_wrapper(name: str) -> str:
    return "" if name == "model" else name.removeprefix("model.")


def _unique(name: str, taken: set[str]) -> str:
    """name, or the first free one of name_2, name_3, ...; added to `taken`."""
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique
