"""One training by one tool, timed: run by training.py, in the environment that holds the tool.

python benchmarks/contenders.py TOOL ROWS same WIDTH EPOCHS
python benchmarks/contenders.py TOOL ROWS defaults LATENT [TARGET]

ROWS is a .npz with uint8 images `train` and `validation`. "same" is 784-WIDTH-32-WIDTH-784, ReLU
after every hidden layer, Adam, batches of 256, float32 pixels in [0, 1]; its seconds are those of
the epochs. "defaults" is the tool as it comes; its seconds are those of the whole call, ours until
the validation error is TARGET. Prints one JSON object with the seconds, the epochs, and the
validation MSE of the pixels.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CODE, BATCH, LR = 32, 256, 1e-3
PIXELS = 784
Array = np.ndarray[Any, Any]
Found = dict[str, float]


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on what."""

    train: Array
    validation: Array
    latent_dim: int = CODE
    width: int = 0  # of "same"; 0 for "defaults"
    epochs: int = 0
    target: float = 0.0


def pixels(x: Array) -> Array:
    """(N, 784) float32 in [0, 1]."""
    return (x.reshape(len(x), -1) / 255).astype(np.float32)


def mse(x: Array, x_hat: Array) -> float:
    return float(((np.asarray(x_hat, np.float64) - x) ** 2).mean())


class Reached(Exception):
    """Our error is as small as was asked for."""


def ours(job: Job) -> Found:
    """With the same network each epoch is judged on 256 rows: others do not judge their epochs."""
    import torch

    from ae_train import train
    from ae_train.data.dataset import Split, make_dataset
    from ae_train.recipe import make_recipe

    known = len(job.train)
    held = np.arange(known, known + len(job.validation))
    split = Split(np.arange(known), held[:256] if job.width else held, np.arange(0))
    x = np.concatenate([job.train, job.validation])
    if job.width:
        arch = {"name": "dense", "width": job.width, "depth": 1, "dropout": 0.0,
                "activation": "relu", "code_activation": "relu", "pca_path": False}  # fmt: skip
        fit = {"epochs": job.epochs, "batch": BATCH, "lr": LR, "clip": 0.0,
               "schedule": "constant", "patience": job.epochs}  # fmt: skip
        data, variance = make_dataset(pixels(x), split=split), 1.0
        recipe = {"latent_dim": CODE, "arch": arch, "data": {"scaling": "none"}, "fit": fit}
    else:
        data, recipe = make_dataset(x, "image", split=split), {"latent_dim": job.latent_dim}
        variance = float(job.train.std(dtype=np.float64) / 255) ** 2  # the channel's scale
    times, errors = [], []

    def show(epoch: Any, pca_mse: float) -> None:
        times.append(time.perf_counter())
        errors.append(epoch.validation_mse * variance)
        if errors[-1] <= job.target:
            raise Reached

    started = time.perf_counter()
    with contextlib.suppress(Reached):
        run = train(data, make_recipe(recipe), show=show)
    if job.width:
        started, x = times[0], pixels(job.validation)
        with torch.no_grad():
            x_hat = run.model.decode(run.model.encode(torch.from_numpy(x))).numpy()
        errors.append(mse(x, x_hat))
    return {"seconds": times[-1] - started, "mse": errors[-1], "epochs": len(times) - 1}


def pyod(job: Job) -> Found:
    import torch
    from pyod.models.auto_encoder import AutoEncoder

    class Timed(AutoEncoder):
        def train(self, train_loader: Any) -> None:
            started = time.perf_counter()
            super().train(train_loader)
            self.seconds = time.perf_counter() - started

        def decision_function(self, X: Array, batch_size: int | None = None) -> Array:
            return np.arange(float(len(X)))  # scoring the rows is no part of training

    same = {
        "hidden_neuron_list": [job.width, CODE],
        "batch_norm": False,
        "dropout_rate": 0.0,
        "batch_size": BATCH,
        "epoch_num": job.epochs,
        "lr": LR,
        "preprocessing": False,
    }
    detector = Timed(**(same if job.width else {}), verbose=0)
    x, held = pixels(job.train), pixels(job.validation)
    started = time.perf_counter()
    detector.fit(x)
    seconds = detector.seconds if job.width else time.perf_counter() - started
    mean, std = (0.0, 1.0) if job.width else (detector.X_mean, detector.X_std)
    s = (held - mean) / np.where(np.asarray(std) > 0, std, 1.0)
    detector.model.eval()
    with torch.no_grad():
        x_hat = detector.model(torch.from_numpy(s.astype(np.float32))).numpy() * std + mean
    return {"seconds": seconds, "mse": mse(held, x_hat), "epochs": detector.epoch_num}


def pythae(job: Job) -> Found:
    import torch
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(PIXELS, job.width), nn.ReLU(),
                                     nn.Linear(job.width, CODE), nn.ReLU())  # fmt: skip

        def forward(self, x: Any) -> Any:
            return ModelOutput(embedding=self.net(x))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(CODE, job.width), nn.ReLU(),
                                     nn.Linear(job.width, PIXELS))  # fmt: skip

        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=self.net(z))

    config = AEConfig(input_dim=(PIXELS,), latent_dim=job.latent_dim)
    model = AE(config, Encoder(), Decoder()) if job.width else AE(config)
    same = {"num_epochs": job.epochs, "learning_rate": LR, "per_device_train_batch_size": BATCH}
    x, held = pixels(job.train), pixels(job.validation)
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(output_dir=folder, **(same if job.width else {}))
        started = time.perf_counter()
        TrainingPipeline(model=model, training_config=settings)(x)
        seconds = time.perf_counter() - started
    model.eval()
    with torch.no_grad():
        x_hat = model({"data": torch.from_numpy(held)}).recon_x.reshape(len(held), -1).numpy()
    return {"seconds": seconds, "mse": mse(held, x_hat), "epochs": settings.num_epochs}


def sklearn(job: Job) -> Found:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(job.width, CODE, job.width), batch_size=BATCH, max_iter=job.epochs,
        learning_rate_init=LR, tol=0.0, n_iter_no_change=job.epochs + 1, random_state=0,
    )  # fmt: skip
    x, held = pixels(job.train), pixels(job.validation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted, no more
        started = time.perf_counter()
        model.fit(x, x)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "mse": mse(held, model.predict(held)), "epochs": model.n_iter_}


def loader(job: Job) -> Found:
    """The loop of a tutorial: a DataLoader over a TensorDataset, Adam, the loss of each epoch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(PIXELS, job.width), nn.ReLU(), nn.Linear(job.width, CODE), nn.ReLU(),
        nn.Linear(CODE, job.width), nn.ReLU(), nn.Linear(job.width, PIXELS),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    batches = DataLoader(TensorDataset(torch.from_numpy(pixels(job.train))), BATCH, shuffle=True)
    started = time.perf_counter()
    for _ in range(job.epochs):
        total = 0.0
        for (x,) in batches:
            loss = nn.functional.mse_loss(model(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    seconds = time.perf_counter() - started
    held = pixels(job.validation)
    with torch.no_grad():
        x_hat = model(torch.from_numpy(held)).numpy()
    return {"seconds": seconds, "mse": mse(held, x_hat), "epochs": job.epochs}


TOOLS = {"ae-toolkit": ours, "pyod": pyod, "pythae": pythae, "sklearn": sklearn, "loader": loader}


def main() -> None:
    tool, file, part, first, *second = sys.argv[1:]
    with np.load(Path(file)) as rows:
        train, validation = rows["train"], rows["validation"]
    if part == "same":
        job = Job(train, validation, width=int(first), epochs=int(*second), target=-math.inf)
    else:
        target = float(second[0]) if second else -math.inf
        job = Job(train, validation, latent_dim=int(first), target=target)
    with contextlib.redirect_stdout(io.StringIO()):  # some tools talk
        found = TOOLS[tool](job)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
