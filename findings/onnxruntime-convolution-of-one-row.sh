#!/usr/bin/env bash
# onnxruntime 1.32.0 on ARM64 with SME: a 2-d convolution of one row has other bits than that row
# has in a batch.
#
# One Conv (3x3, 16 to 32 channels, 8x8 pixels, float32), 16 rows of normal numbers, one thread. The
# same rows are run all at once, one by one, and in batches of 15, which leave one row over. The
# setting of a session "mlas.disable_kleidiai" = "1" makes them alike again: KleidiAI's kernels take
# a batch of one row, and others the rest. Versions that were tried in the same way: 1.23 has no
# difference; 1.24 has it, and ignores the setting; 1.25 to 1.32 have it, and heed the setting.
#
# Seen with qemu-user 7.2 of Debian 12, `-cpu max`, on x86-64 (11.1, which has SME2 too, differs in as many rows):
#   onnxruntime 1.32.0, SME: True
#   as it comes: 16 of 16 rows differ alone, 1 of 16 in batches of 15; at most 2.1e-06
#   mlas.disable_kleidiai = 1: 0 of 16 rows differ alone, 0 of 16 in batches of 15; at most 0.0e+00
#
# Exit code: 0 as described, 1 the behaviour has changed, 3 it could not be tried (the line says why).
set -euo pipefail

for tool in qemu-aarch64-static mmdebstrap python3; do
  command -v "$tool" >/dev/null || { echo "not tried: $tool is missing; apt install qemu-user-static mmdebstrap python3-pip"; exit 3; }
done
python3 -m pip --version >/dev/null 2>&1 || { echo "not tried: pip is missing; apt install python3-pip"; exit 3; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3-minimal,libpython3-stdlib,libstdc++6 \
  bookworm "$root" 2>"$folder/log" || { cat "$folder/log"; echo "not tried: mmdebstrap made no ARM64 root"; exit 3; }
platforms=$(printf -- '--platform manylinux_2_%s_aarch64 ' 28 27 26 17)
# shellcheck disable=SC2086
python3 -m pip install --quiet --disable-pip-version-check --no-compile --target "$folder/site" --only-binary=:all: \
  --python-version 3.11 --implementation cp $platforms numpy==2.4.6 onnxruntime==1.32.0 onnx==1.23.2 2>"$folder/log" ||
  { cat "$folder/log"; echo "not tried: pip found no wheels"; exit 3; }
# qemu-user lets programs read the host's /proc/cpuinfo, which onnxruntime cannot parse on x86-64.
mkdir -p "$root/proc"
printf 'processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n' >"$root/proc/cpuinfo"

cat >"$folder/convolution.py" <<'PY'
import ctypes
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

auxiliary = ctypes.CDLL(None).getauxval
auxiliary.restype = ctypes.c_ulong
sme = bool(auxiliary(26) >> 23 & 1)  # AT_HWCAP2, HWCAP2_SME
print(f"onnxruntime {onnxruntime.__version__}, SME: {sme}")
random = np.random.default_rng(0)
weight = (random.standard_normal((32, 16, 3, 3)) / 12).astype(np.float32)
x = random.standard_normal((16, 16, 8, 8)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "weight"], ["y"], pads=[1, 1, 1, 1])],
    "convolution",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16, 8, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32, 8, 8])],
    [numpy_helper.from_array(weight, "weight")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def outputs(session, batch):
    parts = [session.run(None, {"x": x[i : i + batch]})[0] for i in range(0, len(x), batch)]
    return np.concatenate(parts)


def differences(off):
    """Rows with other bits than all at once: alone, in batches of 15."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if off:
        options.add_session_config_entry("mlas.disable_kleidiai", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    together = outputs(session, 16)
    found = [outputs(session, batch) for batch in (1, 15)]
    alone, left_over = [int((y != together).reshape(16, -1).any(axis=1).sum()) for y in found]
    most = max(float(np.abs(y - together).max()) for y in found)
    name = "mlas.disable_kleidiai = 1" if off else "as it comes"
    print(f"{name}: {alone} of 16 rows differ alone, {left_over} of 16 in batches of 15; at most {most:.1e}")
    return alone, left_over


if not sme:
    print("not tried: the emulator has no SME")
    sys.exit(3)
described = differences(False) == (16, 1) and differences(True) == (0, 0)
print("as described" if described else "changed")
sys.exit(not described)
PY
PYTHONPATH=$folder/site qemu-aarch64-static -cpu max -L "$root" "$root/usr/bin/python3.11" "$folder/convolution.py"
