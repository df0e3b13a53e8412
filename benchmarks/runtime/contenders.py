"""One way to encode all rows, timed when asked to: run by turns.py in a process of its own.

python benchmarks/runtime/contenders.py NAME MODEL

Prints {"versions", "z", "rows_mb"}, with the latents of a few rows, when it is ready; then for
each line of standard input, a JSON object of settings, encodes all rows and prints {"seconds",
"cpu_s"}: of the clock, and of all its threads.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from models import FOLDER, PEER_TILE

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Array = np.ndarray[Any, Any]
Encode = Callable[[Array], Array]
WARM = 16_384  # rows that new settings are tried on before they are timed
SHOWN = 5  # rows whose latents are compared between contenders


def ours(model: str) -> Encode:
    import ae_runtime

    return ae_runtime.load(FOLDER / model).encode


def by_hand(model: str, tile: int = 256, threads: int = 2, intra_op: int = 1) -> Encode:
    from hand_tuned import hand_tuned

    return hand_tuned(str(FOLDER / model / "encoder.onnx"), tile, threads, intra_op)


def one_run(model: str) -> Encode:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        FOLDER / model / "encoder.onnx", providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(["z"], {"x": x})[0]


def torch_loader(model: str, *, compiled: bool = False, loader: bool = True) -> Encode:
    """The network in torch: a DataLoader's batches of 256 in turn, or slices of the rows."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    network = torch.export.load(FOLDER / f"{model}.pt2").module()
    if compiled:
        network = torch.compile(network)

    def encode(x: Array) -> Array:
        rows = torch.from_numpy(x)
        with torch.inference_mode():
            if loader:
                batches = DataLoader(TensorDataset(rows), batch_size=256)
                return torch.cat([network(batch) for (batch,) in batches]).numpy()
            return torch.cat([network(batch) for batch in rows.split(256)]).numpy()

    return encode


def numpy_products(model: str, tile: int = 1024) -> Encode:
    with np.load(FOLDER / f"{model}-weights.npz") as file:
        *hidden, last = [(file[f"{at}"].T, file[f"{at + 1}"]) for at in range(0, len(file), 2)]

    def encode(x: Array) -> Array:
        z = np.empty((len(x), len(last[1])), np.float32)
        for start in range(0, len(x), tile):
            h = x[start : start + tile]
            for weight, bias in hidden:
                h = h @ weight
                h += bias
                np.maximum(h, 0, out=h)
            z[start : start + tile] = h @ last[0] + last[1]
        return z

    return encode


def openvino(model: str, tile: int = 256) -> Encode:
    """Asynchronous requests over as many streams as its throughput hint makes, in float32."""
    import openvino as ov

    core = ov.Core()
    network = core.read_model(FOLDER / model / "encoder.onnx")
    # By default it rounds to bfloat16 where the processor can, which is other work.
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(network, "CPU", hints)
    queue = ov.AsyncInferQueue(compiled)
    latent_dim = compiled.output(0).partial_shape[1].get_length()

    def encode(x: Array) -> Array:
        z = np.empty((len(x), latent_dim), np.float32)

        def keep(request: Any, start: int) -> None:
            z[start : start + tile] = request.get_output_tensor(0).data

        queue.set_callback(keep)
        for start in range(0, len(x), tile):
            queue.start_async({0: x[start : start + tile]}, start, share_inputs=True)
        queue.wait_all()
        return z

    return encode


def litert(model: str, threads: int = 2, per_call: int = 1) -> Encode:
    """Interpreters over threads, one each, in tiles of the model's fixed shape."""
    from ai_edge_litert.interpreter import Interpreter

    file = str(FOLDER / f"{model}.tflite")
    pool = ThreadPoolExecutor(threads)
    interpreters = [Interpreter(file, num_threads=per_call) for _ in range(threads)]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
    (given,), (found,) = interpreters[0].get_input_details(), interpreters[0].get_output_details()

    def encode(x: Array) -> Array:
        z = np.empty((len(x), found["shape"][1]), np.float32)
        starts = iter(range(0, len(x), PEER_TILE))

        def work(interpreter: Any) -> None:
            for start in starts:
                tile = x[start : start + PEER_TILE]
                rows = len(tile)
                if rows < PEER_TILE:
                    tile = np.concatenate([tile, np.zeros_like(x[: PEER_TILE - rows])])
                interpreter.set_tensor(given["index"], tile)
                interpreter.invoke()
                z[start : start + rows] = interpreter.get_tensor(found["index"])[:rows]

        list(pool.map(work, interpreters))
        return z

    return encode


# Name -> how it is made, and the packages whose versions are told.
CONTENDERS: dict[str, tuple[Callable[..., Encode], tuple[str, ...]]] = {
    "ours": (ours, ("ae-toolkit", "onnxruntime", "numpy")),
    "hand-tuned": (by_hand, ("onnxruntime",)),
    "one session.run": (one_run, ("onnxruntime",)),
    "torch DataLoader": (torch_loader, ("torch",)),
    "torch slices": (functools.partial(torch_loader, loader=False), ("torch",)),
    "torch.compile": (functools.partial(torch_loader, loader=False, compiled=True), ("torch",)),
    "numpy": (numpy_products, ("numpy",)),
    "OpenVINO": (openvino, ("openvino",)),
    "LiteRT": (litert, ("ai-edge-litert",)),
}


def main() -> None:
    name, model = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # some packages talk

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    make, packages = CONTENDERS[name]
    x = np.load(FOLDER / f"{model}-rows.npy")
    settings: dict[str, int] = {}
    encode = make(model)
    z = encode(x)[:SHOWN]
    versions = {package: importlib.metadata.version(package) for package in packages}
    answer(versions=versions, z=np.asarray(z).tolist(), rows_mb=x.nbytes / 2**20)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked != settings:
            del encode  # first: its memory is for the next one
            encode, settings = make(model, **asked), asked
            encode(x[:WARM])
        started, cpu_s = time.perf_counter(), time.process_time()
        encode(x)
        answer(seconds=time.perf_counter() - started, cpu_s=time.process_time() - cpu_s)


if __name__ == "__main__":
    main()
