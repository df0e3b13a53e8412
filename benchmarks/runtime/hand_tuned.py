"""The loop that one would write by hand: tiles of rows over threads, on bare onnxruntime."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime


def hand_tuned(graph, tile, threads, intra_op, fetch="z", feed="x"):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pool, row = ThreadPoolExecutor(threads), session.get_outputs()[0].shape[1:]

    def encode(x):
        z, starts = np.empty((len(x), *row), np.float32), iter(range(0, len(x), tile))

        def work(_):
            for at in starts:
                z[at : at + tile] = session.run([fetch], {feed: x[at : at + tile]})[0]

        list(pool.map(work, range(threads)))
        return z

    return encode
