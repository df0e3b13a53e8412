#!/usr/bin/env bash
# netCDF4 1.7.5.1.post1 masks the value 255 of unsigned bytes, though the file names no fill value.
# The pixels 0, 255, 3 that xarray 2026.9.0 writes as a plain uint8 variable come back from netCDF4 with
# the white one missing, from xarray with 255: 255 is the library's default fill of that type, and the
# mask is made of values alone. set_auto_mask(False) gives all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check netCDF4==1.7.5.1.post1 xarray==2026.9.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import os
import tempfile

import netCDF4
import numpy as np
import xarray

path = os.path.join(tempfile.mkdtemp(), "pixels.nc")
pixels = np.array([0, 255, 3], np.uint8)
xarray.Dataset({"pixels": ("x", pixels)}).to_netcdf(path, engine="netcdf4")
assert xarray.open_dataset(path).pixels.values.tolist() == [0, 255, 3]
with netCDF4.Dataset(path) as file:
    variable = file["pixels"]
    assert "_FillValue" not in variable.ncattrs() and "missing_value" not in variable.ncattrs()
    found = variable[:]
    print("netCDF4:", found, "mask", np.ma.getmaskarray(found))
    assert np.ma.getmaskarray(found).tolist() == [False, True, False], "changed"
    variable.set_auto_mask(False)
    assert variable[:].tolist() == [0, 255, 3]
PYTHON
