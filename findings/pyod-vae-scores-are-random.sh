#!/usr/bin/env bash
# decision_function of PyOD 3.6.7's VAE gives other scores for the same rows at every call.
# The latents are drawn anew also when scoring, so the scores of the training rows are not
# decision_scores_, and labels near threshold_ change from call to call. AutoEncoder is steady.
# Seen: scores of five rows differ by 1.9 between two calls.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyod==3.6.7 torch==2.13.0 tqdm numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.vae import VAE

random = np.random.default_rng(0)
axes = random.standard_normal((3, 8))
rows = random.standard_normal((400, 3)) @ axes + 0.1 * random.standard_normal((400, 8))
sizes = {"encoder_neuron_list": [6, 4], "decoder_neuron_list": [4, 6], "latent_dim": 2}
for detector, varies in (
    (VAE(epoch_num=2, verbose=0, **sizes), True),
    (AutoEncoder(epoch_num=2, verbose=0, hidden_neuron_list=[6, 3]), False),
):
    detector.fit(rows)
    first, second = (detector.decision_function(rows[:5]) for _ in range(2))
    off = float(np.abs(first - second).max())
    print(f"{type(detector).__name__}: two calls differ by {off:.3g}")
    assert (off > 1e-3) == varies, "changed"
PYTHON
