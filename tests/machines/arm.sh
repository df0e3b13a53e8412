#!/usr/bin/env bash
# arm.sh FOLDER: the numbers of the runtime on an emulated ARM64 processor, without and with SME.
#
# FOLDER keeps an ARM64 root of Debian (its Python alone) and wheels for it, 0.5 GB; nothing is
# installed on this machine, and nothing in the root is run but by the emulator. Exit code 3: not run.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
here=.venv/bin/python

for tool in qemu-aarch64-static mmdebstrap; do
  command -v "$tool" >/dev/null || { echo "test-arm was not run: $tool is missing; apt install qemu-user-static mmdebstrap"; exit 3; }
done

if [ ! -e "$folder/.ready" ] || [ constraints.txt -nt "$folder/.ready" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3-minimal,libpython3-stdlib,libstdc++6 \
    bookworm "$folder/root" || { echo "test-arm was not run: mmdebstrap made no ARM64 root"; exit 3; }
  "$here" -m pip install --quiet --disable-pip-version-check --no-compile --target "$folder/site" -c constraints.txt \
    --only-binary=:all: --python-version 3.11 --implementation cp \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
    numpy onnxruntime click msgspec pyarrow pillow pcodec pytest || { echo "test-arm was not run: pip found no wheels"; exit 3; }
  # The emulator would show this machine's /proc/cpuinfo, of which onnxruntime on ARM makes nothing.
  mkdir "$folder/root/proc"
  for cpu in 0 1; do
    printf 'processor\t: %s\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n' $cpu
  done >"$folder/root/proc/cpuinfo"
  # Processes that tests start are emulated, too.
  echo 'import os, sys; sys.executable = os.environ["EMULATED_PYTHON"]' >"$folder/site/sitecustomize.py"
  touch "$folder/.ready"
fi

folder=$(realpath "$folder")
rm -rf "$folder"/archives-*
"$here" tests/machines/archives.py write "$folder/archives-here"
for cpu in cortex-a72 max; do  # max: all that the emulator knows, SME included
  python=$folder/python-$cpu
  cat >"$python" <<SCRIPT
#!/bin/sh
export EMULATED_PYTHON=$python PYTHONPATH=$PWD/runtime:$folder/site PYTHONDONTWRITEBYTECODE=1
exec qemu-aarch64-static -cpu $cpu -L $folder/root $folder/root/usr/bin/python3.11 "\$@"
SCRIPT
  chmod +x "$python"
  echo "== $cpu"
  # Without those that run the doctor on the largest bundle, which takes minutes to time: it comes below.
  "$python" -m pytest -q -p no:cacheprovider tests/runtime/test_{arrays,golden,same_bits,int8,archive_golden}.py \
    -k "not finds_nothing_wrong and not one_off and not ends_with_1 and not two_onnxruntimes"
  for bundle in tests/golden/v1/* models/digits; do
    "$python" -c 'from ae_runtime.cli import main; main()' doctor "$bundle" >"$folder/doctor" || { cat "$folder/doctor"; exit 1; }
  done
  echo "doctor: nothing wrong with $(ls -d tests/golden/v1/* models/digits | wc -l) bundles"
  "$python" tests/machines/archives.py write "$folder/archives-$cpu"
  "$python" tests/machines/archives.py compare "$folder/archives-here" "$folder/archives-$cpu"
  "$here" tests/machines/archives.py compare "$folder/archives-$cpu" "$folder/archives-here"
done
