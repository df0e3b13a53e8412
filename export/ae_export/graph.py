"""From a torch module to the bytes of a checked ONNX graph."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ae_runtime import __version__, extras
from ae_runtime.errors import VerificationFailed
from ae_runtime.manifest import Port

OPSET, IR_VERSION = 18, 8


def trace(module: nn.Module, example: Tensor, feed: Port, fetch: Port) -> bytes:
    """The graph of module(feed) -> fetch, its first axis free: opset 18, IR 8, one file.

    Names of nodes and weights stay readable; metadata, which holds local paths, is dropped, so the
    same module gives the same bytes wherever it is exported. Raises VerificationFailed if the
    graph does not have these ports.
    """
    onnx = extras.need("onnx", "export")
    extras.need("onnxscript", "export")
    module = module.eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[feed.name],
            output_names=[fetch.name],
            dynamic_shapes=({0: "batch"},),
            verbose=False,
        )
    assert program is not None  # only the exporter that dynamo=False selects returns None
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ae-toolkit", __version__
    onnx.checker.check_model(model, full_check=True)
    found = [(o.domain, o.version) for o in model.opset_import]
    if found != [("", OPSET)]:
        raise VerificationFailed(f"the exporter wrote operator sets {found}, not {OPSET}")
    return model.SerializeToString(deterministic=True)


def _strip(model: Any) -> None:
    """Drop everything that is not needed to run the graph and may name the author's machine."""
    graph = model.graph
    del graph.value_info[:]
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("doc_string")
        del holder.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on packages and classes that are none of a user's business."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
