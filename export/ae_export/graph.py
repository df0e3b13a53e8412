"""The bytes of a checked ONNX graph, traced from a torch module."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ae_export.simplify import simplify
from ae_runtime import __version__, extras
from ae_runtime.bundle.manifest import Port
from ae_runtime.errors import BundleRefused, VerificationFailed
from ae_runtime.graphs.admission import ANY_BYTES, admit

OPSET, IR_VERSION = 18, 8


def trace(
    name: str,
    module: nn.Module,
    examples: Sequence[Tensor],
    feeds: Sequence[Port],
    fetches: Sequence[Port],
) -> bytes:
    """The graph of module(*examples), its first axis free: opset 18, IR 8, one file.

    name: its file in the bundle. examples: one batch of 2 rows for each of `feeds`; fetches: the
    outputs. Nodes and weights have the names of modules; metadata, which holds local
    paths, is dropped, so the same module gives the same bytes wherever it is exported. Raises
    VerificationFailed for a module that cannot be traced, or not with a free batch axis, and for a
    graph that our own loader would refuse.
    """
    onnx = extras.need("onnx", "export")
    extras.need("onnxscript", "export")
    program = _export(module.eval(), tuple(examples), feeds, fetches)
    simplify(program.model)
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ae-toolkit", __version__
    onnx.checker.check_model(model, full_check=True)
    opsets = [(o.domain, o.version) for o in model.opset_import]
    if opsets != [("", OPSET)]:
        raise VerificationFailed(f"the exporter wrote operator sets {opsets}, not {OPSET}")
    raw: bytes = model.SerializeToString(deterministic=True)
    try:
        admit(name, raw, feeds, fetches, ANY_BYTES)
    except BundleRefused as error:
        raise VerificationFailed(f"{error}; nothing was written") from None
    return raw


def _export(
    module: nn.Module, examples: tuple[Tensor, ...], feeds: Sequence[Port], fetches: Sequence[Port]
) -> Any:
    try:
        with _quiet(), _one_registry(), torch.no_grad():
            return torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[feed.name for feed in feeds],
                output_names=[fetch.name for fetch in fetches],
                dynamic_shapes=tuple({0: "batch"} for _ in feeds),
                verbose=False,
            )
    except Exception as error:  # torch.export, its compiler and the exporter have dozens of kinds
        raise VerificationFailed(
            f"the module from {feeds[0].name} to {fetches[0].name} cannot be traced: "
            f"{_reason(error)}; write it without branches on values, and for any batch size"
        ) from None


def _reason(error: BaseException) -> str:
    """The first line of the error that caused an exporter's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _strip(model: Any) -> None:
    """Drop everything that is not needed to run the graph and may name the author's machine."""
    graph = model.graph
    del graph.value_info[:]
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("doc_string")
        del holder.metadata_props[:]


@contextlib.contextmanager
def _one_registry() -> Iterator[None]:
    """Have torch reuse its table of operators from graph to graph.

    Making it takes a third of the time of a trace. Nothing is changed where a version of torch has
    it in another place.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        before = ONNXRegistry.__dict__["from_torchlib"]
        once = _once(before.__func__, ONNXRegistry)
    except (ImportError, KeyError, AttributeError):
        yield
        return
    setattr(ONNXRegistry, "from_torchlib", staticmethod(once))  # noqa: B010  # mypy
    try:
        yield
    finally:
        setattr(ONNXRegistry, "from_torchlib", before)  # noqa: B010


@functools.cache
def _once(make: Callable[..., Any], kind: type[Any]) -> Callable[..., Any]:
    return functools.cache(functools.partial(make, kind))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on packages and classes that are none of a user's business."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
