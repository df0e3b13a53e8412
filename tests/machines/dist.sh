#!/usr/bin/env bash
# dist.sh FOLDER: builds wheel and sdist into FOLDER, installs each into fresh environments, one for training and one
# for the runtime, and runs the demo from there. INDEX: what pip is told beside, such as --extra-index-url.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf "$1"
mkdir -p "$1"
folder=$(realpath "$1")
python=${PYTHON:-python3}
install="-m pip install --quiet --disable-pip-version-check -c $PWD/constraints.txt ${INDEX:-}"

"$python" -m venv "$folder/build"
"$folder/build/bin/python" $install hatchling
"$folder/build/bin/python" -m hatchling build -d "$folder"

for built in "$folder"/*.whl "$folder"/*.tar.gz; do
  echo "== $(basename "$built")"
  rm -rf "$folder/training" "$folder/runtime"
  "$python" -m venv "$folder/training"
  "$folder/training/bin/python" $install "$built[export]"
  "$python" -m venv "$folder/runtime"
  "$folder/runtime/bin/python" $install "$built[cpu]"
  "$folder/training/bin/python" demo/demo.py "$folder/runtime"
done
rm -rf "$folder/build" "$folder/training" "$folder/runtime"
echo "== built and tried:" && ls "$folder"
