#!/usr/bin/env bash
# numcodecs 0.16.6 cannot be imported where zfpy 1.0.1.post0 is installed.
# numcodecs makes numbers of the parts of zfpy's version, and "post0" is none; zarr, which imports
# numcodecs, fails with it. zfpy 1.0.1.post0 is what an unpinned install brings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numcodecs==0.16.6 zfpy==1.0.1.post0 zarr==3.1.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import importlib

for name in ("numcodecs", "zarr"):
    try:
        importlib.import_module(name)
    except ValueError as error:
        print(f"import {name}: ValueError: {error}")
        assert "post0" in str(error)
    else:
        raise SystemExit(f"changed: {name} is imported")
PYTHON
